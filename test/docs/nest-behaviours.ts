/** The behaviours that a Nest transport is judged by, and the tests that show them: what docs/nest-behaviours.md is made of. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import ts from 'typescript';
import { ROOT } from './pages.js';

/** At least as with Nest's own TCP transport, or better than it. */
type Kind = 'P' | 'B';

/** By number, from 1. */
export const BEHAVIOURS: readonly (readonly [kind: Kind, what: string])[] = [
  ['P', '`createMicroservice(Module, { strategy })`; `listen()` resolves once connections are accepted'],
  ['P', '`connectMicroservice` and `startAllMicroservices`, beside HTTP and beside another strategy'],
  ['P', '`{ inject, useFactory: () => ({ strategy }) }`'],
  ['P', '`createTestingModule().createNestMicroservice`; two applications on port 0 in one process'],
  ['B', '`listen()` rejects with the code of the system: port taken, unknown host, no access, a key that will not do'],
  ['B', '`listen()` resolves with the address'],
  ['P', '`@MessagePattern(pattern, transport)` binds to that transport alone'],
  ['P', '`unwrap()` before `listen` is a clear error; `on()` before it hears what comes after'],
  ['P', '`status` replays the last one, repeats none, and ends with `disconnected`'],
  ['P', 'two servers made of one options object share nothing'],
  ['P', 'a handler returns a value, a promise, an Observable, or a promise of an Observable'],
  ['P', '`null`, `0`, `""` and `false` arrive; nothing returned completes empty'],
  ['P', 'many items in order; those before an error come first'],
  ['P', 'an empty Observable completes without a value'],
  ['P', 'a hundred requests and more at once; a slow one holds up none'],
  ['P', 'object patterns whatever the order of their keys; a number is its text; lists of patterns'],
  ['B', 'patterns whose text means something else: `true`, `null`, `{"a":1}`'],
  ['P', 'an unknown pattern is said to be one, at once, in the words of Nest'],
  ['P', 'no pattern or no data is an `InvalidMessageException`, and nothing is sent'],
  ['P', '`send()` is cold'],
  ['P', 'of two handlers of one pattern the last one answers, with a warning'],
  ['B', '50 MB in one message beside small calls, where the limit is raised; above it that call alone fails'],
  ['B', '`Buffer`, `Date` and `bigint` arrive as what they are'],
  ['B', 'a reply that cannot be sent, a filter that throws, a deserializer that throws: an error at once'],
  ['P', '`emit()` is hot, and sends once'],
  ['P', 'all handlers of an event run; one that throws stops none'],
  ['P', 'an Observable that an event handler returns is subscribed to'],
  ['P', 'an event that nobody handles is logged, and nothing is returned'],
  ['P', 'an `RpcException` of an event handler is logged once'],
  [
    'B',
    '`emit()` completes when the event is accepted; while there is no connection it waits within a bound, or fails',
  ],
  ['B', 'events in order, each after the one before has ended'],
  ['P', 'guards, interceptors, pipes and filters, at every level'],
  ['P', '`ValidationPipe`'],
  ['P', "`@Payload('x')` with pipes, `@Ctx()`"],
  ['P', 'filters replace an error'],
  ['P', '`inheritAppConfig`, `deferInitialization`'],
  ['P', 'request-scoped providers, with `CONTEXT`'],
  ['P', 'durable providers, by metadata'],
  ['P', 'pre-request hooks, with `AsyncLocalStorage`'],
  ['P', 'processing hooks run once a message, and end once: success, error, cancelled, connection lost'],
  ['P', 'the context: pattern, metadata, who calls'],
  ['P', '`extras` of a pattern'],
  ['P', "an `RpcException` arrives as it was thrown; another error is hidden, in Nest's own shape"],
  ['P', '`serializeError` and `serializeResponse` of a subclass have the last word'],
  ['B', 'errors with code and details where the client asks for them, and always from the verbs'],
  ['P', '`connect()` is remembered: fifty first messages, one connection'],
  ['P', 'a dead port is `ECONNREFUSED`, and no unhandled rejection'],
  ['P', 'a server that is killed: what waits fails at once, nothing is kept, the next message connects again'],
  ['B', 'reconnecting waits longer each time, and `status` shows what became of it'],
  ['P', '`close()`, then `connect()`; what the old connection does late harms nothing'],
  ['P', '`unwrap()`, `on()` and `status` of a client, before and after it connects'],
  ['P', '`close()` may be repeated; afterwards, and while nothing is pending, the process may end'],
  ['P', '`ClientsModule` in all its forms, `ClientProxyFactory`, `@Client`; under `strict`, without a cast'],
  ['P', 'clients of a module are closed when the application is'],
  ['B', '`unsubscribe`, `take(1)` and `timeout()` stop the producer'],
  ['B', 'a lost connection does so too'],
  ['B', 'an `AbortSignal` in the context'],
  ['B', 'a deadline by default and by message; a handler sees what is left of it'],
  ['B', 'a slow reader of 1 GB: in order, and memory is bounded'],
  ['B', 'async generators stream, and are told when nobody reads on'],
  ['B', '100,000 calls and 10,000 timeouts leave nothing behind'],
  ['P', 'what `setOnDispatchHook` sets is what `getMetadata()` gives'],
  ['B', 'headers of one message, by a record builder; those of a reply; `traceparent` with OpenTelemetry'],
  ['B', 'shutdown: intake stops, what runs may end, it is over once idle, and at the latest after `gracePeriod`'],
  ['P', 'nothing runs after `close()`'],
  ['P', '`close()` twice, and without `listen`'],
  ['B', 'intake stops before what handlers use is gone; callers are told, and go elsewhere'],
  ['P', 'garbage, an endless length, half a message: of that peer alone'],
  ['P', '12,000 small frames in one write'],
  ['P', 'hostile patterns'],
  ['P', 'TLS and mutual TLS; the certificate of the caller in the context'],
  ['B', 'several endpoints: of a server, and of a client'],
  ['P', 'health, with terminus'],
  ['P', 'a serializer and a deserializer of one’s own, synchronous or not'],
  ['P', 'ES modules and CommonJS, Nest 11 and 12'],
  ['P', "what Nest's own end-to-end tests ask of its TCP transport"],
];

/** A test whose title begins with the id of a behaviour. */
interface Shown {
  readonly behaviour: number;
  readonly file: string;
  /** With those of what it stands in. */
  readonly title: string;
}

const ID = /^N-(\d\d) /;

/** All tests of behaviours, by file and then as they stand in it. */
export async function shownBehaviours(): Promise<Shown[]> {
  const paths = await readdir(join(ROOT, 'test'), { recursive: true });
  const specs = paths.filter((path) => path.endsWith('.spec.ts')).map((path) => `test/${path.replaceAll('\\', '/')}`);
  const found = await Promise.all(
    specs.toSorted().map(async (file) => {
      const text = await readFile(join(ROOT, file), 'utf8');
      if (!/['"`]N-\d\d /.test(text)) return [];
      return titlesIn(ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true)).map((title) => ({ file, title }));
    }),
  );
  return found.flat().map(({ file, title }) => {
    const own = title.at(-1) ?? '';
    const above = title.slice(0, -1).join(' › ');
    const said = own.replace(ID, '');
    return { behaviour: Number(ID.exec(own)?.[1]), file, title: above === '' ? said : `${above} › ${said}` };
  });
}

/** The page: a row for each behaviour. */
export function pageOf(shown: readonly Shown[]): string {
  const rows = BEHAVIOURS.map(([kind, what], index) => {
    const tests = shown.filter(({ behaviour }) => behaviour === index + 1);
    const files = [...new Set(tests.map(({ file }) => file))];
    const cell = files.map((file) => {
      return [`\`${file}\``, ...tests.filter((test) => test.file === file).map(({ title }) => textOf(title))].join(
        '<br>',
      );
    });
    return `| ${index + 1} | ${kind} | ${what} | ${cell.join('<br>') || 'not shown yet'} |`;
  });
  return `${HEAD}\n| | | behaviour | shown by |\n|---|---|---|---|\n${rows.join('\n')}\n`;
}

const HEAD = `# What a Nest application may expect

What a custom transport has to do to be at home in Nest: at least as much as Nest's own TCP transport (P), or more (B). Each line is shown by tests over real Nest applications and real sockets. The titles of these tests begin with its number: \`N-46\` is line 46. The tests in \`test/compat\` run on Nest 11 and 12, as ES modules and as CommonJS, by \`npm run compat\`. It runs those in \`test/nest\` on Nest 11 too, but for a few that are slow, and for what only Nest 12 has: such titles end with *(Nest 12)*.

The page is made of these titles, by \`npx vitest run test/docs/nest-behaviours.spec.ts -u\`.
`;

/** Of all tests with an id, in the order they stand in: the titles around each, and its own. */
function titlesIn(source: ts.SourceFile): string[][] {
  const found: string[][] = [];
  const visit = (node: ts.Node, around: readonly string[]): void => {
    const title = ts.isCallExpression(node) ? titleOf(node) : undefined;
    const inside = title === undefined ? around : [...around, title];
    if (title !== undefined && ID.test(title)) found.push([...inside]);
    node.forEachChild((child) => visit(child, inside));
  };
  visit(source, []);
  return found;
}

/** What `describe`, `it` and `test` say, also those of `.each`, and the version of Nest that `.runIf` asks for. */
function titleOf({ expression, arguments: [title] }: ts.CallExpression): string | undefined {
  if (title === undefined || !(ts.isStringLiteralLike(title) || ts.isTemplateExpression(title))) return undefined;
  let callee: ts.Expression = expression;
  while (ts.isCallExpression(callee) || ts.isPropertyAccessExpression(callee)) callee = callee.expression;
  if (!ts.isIdentifier(callee) || !['describe', 'it', 'test'].includes(callee.text)) return undefined;
  const text = ts.isStringLiteralLike(title) ? title.text : title.getText().slice(1, -1);
  const since = /\.runIf\(NEST >= (\d+)\)/.exec(expression.getText())?.[1];
  return since === undefined ? text : `${text} (Nest ${since})`;
}

/** As it stands in a cell of a table. */
function textOf(title: string): string {
  return title.replaceAll('|', '\\|').replaceAll('<', '&lt;').replaceAll('*', '\\*');
}
