/** Runs every sample by `nest start`, as a newcomer would, and reads what it tells. */
import { execFile } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isWithoutEtcd } from './support/etcd.js';

const root = join(import.meta.dirname, '..');
const run = promisify(execFile);
const nest = join(createRequire(import.meta.url).resolve('@nestjs/cli/package.json'), '../bin/nest.js');
/** Where `nest start` compiles to, from the root: other tests read `dist-sample` meanwhile. */
let compiled: string;

/** All are compiled once. `everything` says how, as `tsconfig.sample.json` does; by `nothing`, `nest start` runs what is there. */
beforeAll(async () => {
  compiled = basename(mkdtempSync(join(root, 'dist-nest-start-')));
  configure('everything', {
    extends: '../tsconfig.sample.json',
    compilerOptions: { rootDir: '../sample', outDir: '.', tsBuildInfoFile: '.tsbuildinfo' },
    include: ['../sample'],
  });
  configure('nothing', { compilerOptions: { rootDir: '.', outDir: '.', noLib: true, types: [] }, files: [] });
  await run(process.execPath, [nest, 'build', '--path', join(compiled, 'everything.json')], { cwd: root });
}, 180_000);

function configure(name: string, tsconfig: object): void {
  writeFileSync(join(root, compiled, `${name}.json`), JSON.stringify(tsconfig));
}

afterAll(() => rmSync(join(root, compiled), { recursive: true, force: true }));

/** Lines that each of them must print, once and in this order; numbers of processes, ports and ms left out. */
const STORIES: Readonly<Record<string, readonly string[]>> = {
  '00-basic': [
    "call call('math', 'add', [20, 22]) → 42",
    'typed add(20, 22), whose types the compiler knows → 42',
    "send send('math.add', [20, 22]), by a Nest client → 42",
    'fails divide(1, 0) → handler_failed: There is no division by zero.',
  ],
  '01-main-job': [
    "call prices.quote('tea', 3) → { item: 'tea', count: 3, total: 12.6, inStock: 40 }",
    "cast stock.note('tea sells well') → accepted, nobody waits for it",
    "call stock.notes() → [ 'front@127.0.0.1: tea sells well' ]",
    "fails prices.quote('unicorn', 1) → handler_failed: There is no price for unicorn.",
    "fails prices.qoute('tea', 1) → undefined_function: There is no function prices.qoute here. Did you mean prices.quote?",
    'fails stock.recount() within 50 ms → timeout: stock.recount on stock@127.0.0.1 did not reply within 50 ms.',
    "version prices 1.0.0: total('tea', 11) → 46.2",
    "prices ^1.0.0: total('tea', 11), where the newest one answers → 42",
    "prices ^2.0.0: total('tea', 11) → incompatible: There is no version ^2.0.0 of prices here, but 1.0.0, 1.1.0.",
    'keys a call of prices for each of ann, bob, cleo → 3 connections more',
    'and once more → no other: the same key always takes the same one',
    "stream prices.history('tea', 10000) → 10000 prices, one by one; the same again, left after three",
    "nbYield(50) of tea → 'timeout'",
    'nbYield(5000) of tea → { value: 4.62 }',
    'yield() of rice → 1.21',
    'crash stock@127.0.0.1 is killed while it recounts → connection_lost: The connection to stock@127.0.0.1 ended before stock.recount replied: The peer closed the connection.',
    "stock.count('tea') → node_down: stock@127.0.0.1 is down. Cannot connect to 127.0.0.1:# (ECONNREFUSED). Next attempt in # ms.",
    'prices@127.0.0.1 → #',
    'stock@127.0.0.1 → node_down: stock@127.0.0.1 is down. Cannot connect to 127.0.0.1:# (ECONNREFUSED). Next attempt in # ms.',
    "sbcast 'news' to both: which have begun to handle it? → { good: [ 'prices@127.0.0.1' ], bad: [ 'stock@127.0.0.1' ] }",
    'return stock@127.0.0.1 is back (pid #); a call that waited for it → 40',
    'bye every node has drained and closed',
  ],
  '02-keys': [
    'calls no key → open connections: 1',
    'calls keys 1, 2, 4 → open connections: 4',
    'calls the same keys → open connections: 4',
    'calls an object → open connections: 5',
    'calls an equal one → open connections: 5',
    'calls 100 keys → open connections: 9',
    "journal.list() → [ 'bob 1', 'ann 1', 'ann 2' ]",
  ],
  '03-versions': [
    "exact 1.0.0: greet('Ann') → 'Hello Ann'",
    "range ^1.0.0: greet('Ann') → 'Hello, Ann!'",
    "~1.0.0: greet('Ann') → 'Hello Ann'",
    "1.x: greet('Ann') → 'Hello, Ann!'",
    "fails ^3.0.0: greet('Ann') → incompatible: There is no version ^3.0.0 of greeter here, but 1.0.0, 1.2.0, 2.0.0.",
    "any greet({ first: 'Ann', last: 'Lee' }) → 'Good day, Ann Lee.'",
    "wave() → 'o/'",
    'fails 2.0.0: wave() → undefined_function: There is no function greeter.wave in version 2.0.0.',
    "send greeter.greet with 'Ann' for ^1.0.0 → 'Hello, Ann!'",
  ],
  '04-broadcast': [
    'oslo@127.0.0.1 → 4.2',
    'rome@127.0.0.1 → 4.2',
    'lima@127.0.0.1 → 4.2',
    'gone@127.0.0.1 → node_down: gone@127.0.0.1 is down. Cannot connect to 127.0.0.1:# (ECONNREFUSED). Next attempt in # ms.',
    "eval shop.setPrice('tea', 5) everywhere → accepted for oslo@127.0.0.1, rome@127.0.0.1, lima@127.0.0.1",
    "shop.price('tea') everywhere → [ 5, 5, 5 ]",
    "shop.listNews() everywhere → [ 'tea is 5 (from oslo@127.0.0.1)', 'tea is 5 (from oslo@127.0.0.1)', 'tea is 5 (from oslo@127.0.0.1)' ]",
    "sbcast 'news' to four nodes → { good: [ 'oslo@127.0.0.1', 'rome@127.0.0.1', 'lima@127.0.0.1' ], bad: [ 'gone@127.0.0.1' ] }",
    "'olds', which nobody handles → { good: [], bad: [ 'oslo@127.0.0.1', 'rome@127.0.0.1', 'lima@127.0.0.1' ] }",
  ],
  '05-async-call': [
    "nbYield(20) of Oslo → 'timeout'",
    "nbYield(5000) of Oslo → { value: 'report of Oslo' }",
    "yield() of Rome → 'report of Rome'",
    'yield() of Rome, again → invalid_argument: The result of an async call is fetched once, and this one has been.',
    'yield() of Lima → cancelled: The call was cancelled by its caller.',
    "reports.stopped: they know → [ 'Lima' ]",
    "rxjs Cairo and Delhi, side by side → 'report of Cairo, report of Delhi'",
    "Quito until 20 ms have passed → 'nothing'",
    "reports.stopped: unsubscribing cancels → [ 'Lima', 'Quito' ]",
  ],
  '06-workers': [
    'workers counter@127.0.0.1 is pid # and pid #',
    'key 1 counter.next() → 1, by pid #',
    'key 2 counter.next() → 1, by pid #',
    'the same key, the same connection, the same process: each counts on its own',
    'life both call front@127.0.0.1 back as counter@127.0.0.1, side by side: they have one `life`',
    'killed pid #, while it works for key 1 → connection_lost: The connection to counter@127.0.0.1 ended before counter.hang replied: The peer closed the connection.',
    'key 1 has a new connection, and so another process with another count; key 2 noticed nothing',
  ],
  '07-streams': [
    'reply stock.shelves(10000), read as they come → 10000',
    'slow stock.shelves(1000000), of which 3 are read, slowly → stock has seen fewer than 10000: it waited',
    'stock.ended: it knows that its reader has left → 2',
    "argument stock.receive('tea', a stream of 1000 numbers) → '500500 boxes of tea'",
    'both stock.priceEach(a stream), each answer before the next question → tea is 4.2, rice is 1.1, salt is 0.5',
    'rxjs stock.shelves(1000000), take(3) → [ 1, 2, 3 ]',
    'stock.ended: take(3) has stopped it → 3',
    "stock.receive('rice', an Observable) → '6 boxes of rice'",
  ],
  '08-deadlines-and-drain': [
    'deadline front gives orders 1000 ms, which works for 200 and then asks stock → stock has 800 or less',
    'front gives orders 100 ms, and stock would take a minute → timeout',
    "stock.listStopped(): it knows → [ 'tea' ]",
    'cancel front gives orders up, while stock works for it → cancelled: orders.recount was cancelled by its caller.',
    "stock.listStopped(): it knows → [ 'tea', 'rice' ]",
    "retry stock dies in the middle of stock.count('tea') → connection_lost: The connection to stock@127.0.0.1 ended before stock.count replied: The peer closed the connection.",
    "the same call, { idempotent: true, waitForReady: true }, is made again → its successor answers → '40 of tea'",
    'drain stock drains and starts again while 20 callers never pause → none of their # calls is lost',
  ],
  '09-tls': [
    "call orders asks stock: stock.count('tea') → 40",
    'seen stock knows that this was orders@127.0.0.1, by a certificate that names',
    'IP Address:127.0.0.1',
    'URI:genrpc:orders@127.0.0.1',
    "impostor guest, which knows the secret, is found at stock's address",
    `stock.count('tea') → node_certificate_mismatch: The certificate at 127.0.0.1 does not speak for stock@127.0.0.1: it is not for node stock@127.0.0.1, but for "guest@127.0.0.1". Next attempt in # ms.`,
    'borrowed guest calls itself orders, with the certificate that it has → its node does not start',
    'tls.cert: expected a certificate of this node; it is not for node orders@127.0.0.1, but for "guest@127.0.0.1"',
    'forged a node whose certificate names orders, but was issued by an authority that stock does not know',
    "stock.count('tea') → node_down: stock@127.0.0.1 is down. 127.0.0.1 closed the connection as soon as it had seen the certificate of this node: it may not accept it. Its log says why. Next attempt in # ms.",
    'stock has counted it, certificate_refused: 1, and its log says why',
    "renewed orders' certificate is good for 6 days more; one for 90 is written over it",
    'it is in use, good for 89 days: the node has seen its files change',
    'the connection that was open was made with the old one: stock sees 6 days; on a new one 89',
    '20 callers have called all the while → none of their # calls was lost',
  ],
  '10-testing': [
    'cluster stock@10.0.0.2 and orders@10.0.0.1 run, with the modules of production; only the database is another',
    "calls orders.place('tea') → 'reserved'",
    "orders.place('salt') → 'sold out'",
    "delay 300 ms each way, and 600 ms pass: it is in time → 'reserved'",
    "3000 ms each way, and a second passes → 'to be checked'",
    "cut the connection breaks before an order has left → 'to be placed again'",
    "it breaks when the order has left → 'to be checked'",
    "the next one has a new connection → 'reserved'",
    "parted they do not reach each other, and nobody tells them → 'to be checked'",
    "healed, on the same connection → 'reserved'",
    "crash stock is gone → 'to be placed again'",
    "stock is back → 'reserved'",
    'end 9300 ms have passed on the clock of the nodes, hardly any for you; nothing of them is left',
  ],
  '11-hybrid': [
    "http GET /books/2 → { id: 2, title: 'Emma' }",
    "before send('books.find') → { id: 2, title: 'Emma' }",
    "after send('books.find') → { id: 2, title: 'Emma' }",
    "call('books', 'find') → { id: 2, title: 'Emma' }",
    "events one 'book.returned' from each side → 2",
    "after send('books.all'), a stream → [ { id: 1, title: 'Ulysses' }, { id: 2, title: 'Emma' }, { id: 3, title: 'Momo' } ]",
    "before send('books.all') → 'There is no matching message handler defined in the remote service.'",
    "after send('books.list') → 'There is no matching message handler defined in the remote service.'",
  ],
  '12-shop': [
    'order 3 tea → {"status":201,"id":1,"customer":"ann","total":12.6,"receipt":"12.60 from 4711"}',
    'event mail has heard of it → ["Dear ann, your order 1 costs 12.60."]',
    String.raw`so has audit, by an interceptor of orders → [{"pattern":"{\"cmd\":\"orders.place\"}","items":1}]`,
    'filter 2 tea on an empty card → {"status":402,"code":"DECLINED","message":"The bank does not give 8.40."}',
    'and they are back on the shelf → 97',
    '1 unicorn → {"status":409,"code":"OUT_OF_STOCK","message":"There is not enough unicorn: 0 left."}',
    'pipe an order of nothing → {"code":"INVALID","message":"customer must be a string; card must be a string; lines should not be empty"}',
    'guard a payment by a stranger → {"status":"error","message":"Forbidden resource"}',
    'stream 1 to 4 tea → [4.2,8.4,12.6,16.8]',
  ],
  '13-validation': [
    "dto shelf.put({ goods: 'tea', count: 3 }) → '3 of tea'",
    "shelf.put({ goods: 'a lot of tea', count: 0, colour: 'red' }) → handler_failed, of which details say",
    'property colour should not exist',
    'goods must be shorter than or equal to 10 characters',
    'count must not be less than 1',
    "argument shelf.take('tea', '2'), through ParseIntPipe → '2 of tea, number'",
    "shelf.take('tea', 'two') → handler_failed, of which details say",
    'Validation failed (numeric string is expected)',
    "plain send('plain.hidden') → { status: 'error', message: 'Internal server error' }",
    "send('plain.told'), whose pipe makes an RpcException → { count: [ 'count must not be less than 1', 'count must be an integer number' ] }",
  ],
  '14-graceful-deploy': [
    'deploy version 1 is told to end, while 20 callers never pause',
    'it has ended by itself, and nobody had to kill it',
    'slow what it had begun, it has ended first, with its database still open → 40, says version 1',
    'long a job that would have taken too long was handed back, and version 2 went on with it → 40 shelves',
    'crowd version 1 answered, then version 2 → none of their # calls was lost',
  ],
  '15-etcd': [
    "nobody stock.count('tea') of stock-oslo@127.0.0.1 → external_source_error: etcd knows no node stock-oslo@127.0.0.1 under prefix /gen-rpc/nodes/. Next attempt in # ms.",
    'starts stock-oslo@127.0.0.1 → in etcd there is now /gen-rpc/nodes/stock-oslo@127.0.0.1',
    "stock.count('tea') of stock-oslo@127.0.0.1, at whichever port → 40",
    'starts stock-rome@127.0.0.1 → front has heard of stock-oslo@127.0.0.1, stock-rome@127.0.0.1',
    "module stock.count('tea') of any node that has stock → 40",
    'ends stock-oslo@127.0.0.1 → front has heard that there is only stock-rome@127.0.0.1',
    'outage etcd is killed → for 2 s, none of # calls has failed, by what was known # ms ago',
    'etcd is back → stock-oslo@127.0.0.1 too, and front has heard of it',
  ],
  '16-dns': [
    'find math.internal has two addresses, and each is a node',
    'up math@127.0.0.2',
    'up math@127.0.0.3',
    'call math.add of whoever has the module, 100 times → answered by math@127.0.0.2 and math@127.0.0.3',
    'grow a third one is started, and the name leads there too',
    'up math@127.0.0.4',
    '100 calls → answered by 3 nodes',
    'shrink the first one drains, and its address is gone',
    'down math@127.0.0.2',
    '100 calls all the while, none of which failed; now answered by math@127.0.0.3 and math@127.0.0.4',
    'outage the name server is gone',
    'discovery_failed is counted; 100 calls → answered by math@127.0.0.3 and math@127.0.0.4, as before',
  ],
  '17-external-source': [
    'find tea: stock.count() → 40',
    '100 calls more → the registry was asked once, for the one connection',
    'unknown salt: stock.count() → external_source_error: The source of nodes failed for salt@127.0.0.1: salt@127.0.0.1 is not registered. Next attempt in # ms.',
    'outage the registry is away; tea: stock.count() → 40',
    'rice, to which there is no connection yet → external_source_error: The source of nodes failed for rice@127.0.0.1: the registry does not answer. Next attempt in # ms.',
    'return a call of rice that waited for it, { waitForReady: true } → 7',
    'move tea was started anew, on another port: stock.count() → 39',
  ],
  '18-tracing': [
    'INTERNAL GET /unicorn',
    'CLIENT shop/order to shop@127.0.0.1: handler_failed',
    'SERVER shop/order from web@127.0.0.1: handler_failed',
    'CLIENT prices/quote to prices@127.0.0.1: handler_failed',
    'SERVER prices/quote from shop@127.0.0.1: handler_failed',
    'INTERNAL GET /tea',
    'CLIENT shop/order to shop@127.0.0.1: ok',
    'SERVER shop/order from web@127.0.0.1: ok',
    'CLIENT prices/quote to prices@127.0.0.1: ok',
    'SERVER prices/quote from shop@127.0.0.1: ok',
    'CLIENT log/write to log@127.0.0.1: ok',
    'SERVER log/write from shop@127.0.0.1: ok, linked to log/write',
  ],
};

/** The main job is what `nest start` runs where nothing else is asked for. */
function nestStart(name: string, compiling: 'everything' | 'nothing'): string[] {
  const command = [nest, 'start', '--path', join(compiled, `${compiling}.json`)];
  return name === '01-main-job' ? command : [...command, '--entryFile', `${name}/main`];
}

/** Its lines, without what differs from run to run. Fails if it does not end well, or leaves a process behind. */
async function story(command: readonly string[]): Promise<string[]> {
  const { stdout, stderr } = await run(process.execPath, command, { cwd: root, timeout: 60_000 });
  expect(stderr).toBe('');
  return stdout.split('\n').map((line) =>
    line
      .replace(/ {2}\([\d.]+ ms\)$/, '')
      .replaceAll(
        /(?<=pid |127\.0\.0\.1:|attempt in |of their |none of |was known |^ *prices@127\.0\.0\.1 → )\d+/g,
        '#',
      )
      .replaceAll(/ +/g, ' ')
      .trim(),
  );
}

describe('the samples', () => {
  for (const [name, expected] of Object.entries(STORIES)) {
    const test = name === '15-etcd' && isWithoutEtcd('The sample 15-etcd') ? it.skip : it;
    test(`${name} tells its story, and ends by itself`, { timeout: 90_000 }, async () => {
      const lines = await story(nestStart(name, 'nothing'));
      expect(lines.filter((line) => expected.includes(line))).toEqual(expected);
    });
  }

  it('are compiled by `nest start` where that has not been done', { timeout: 90_000 }, async () => {
    const lines = await story(nestStart('03-versions', 'everything'));
    expect(lines).toEqual(expect.arrayContaining([...STORIES['03-versions']!]));
  });

  it('are run by the command of their README as well', async () => {
    const lines = await story(['--enable-source-maps', join(root, 'scripts/sample.mjs'), '03-versions']);
    expect(lines).toEqual(expect.arrayContaining([...STORIES['03-versions']!]));
  });

  it('are all told here, and in their README', () => {
    const folders = readdirSync(join(root, 'sample'), { withFileTypes: true }).filter((entry) => entry.isDirectory());
    const names = folders.map(({ name }) => name).sort();
    expect(Object.keys(STORIES)).toEqual(names);
    const readme = readFileSync(join(root, 'sample/README.md'), 'utf8');
    const rows = [...readme.matchAll(/^\| \[(.+?)\]\(\1\/main\.ts\) \| `(.+?)` \|/gm)].map((row) => row.slice(1));
    const commandOf = (name: string): string => (name === '01-main-job' ? 'npm start' : `npm run sample -- ${name}`);
    expect(rows).toEqual(names.map((name) => [name, commandOf(name)]));
  });

  it('are listed to whoever asks for one that there is not', async () => {
    const asked = run(process.execPath, [join(root, 'scripts/sample.mjs'), '../test']);
    const list = `Which sample? npm run sample -- ${Object.keys(STORIES).join(' | ')}\n`;
    await expect(asked).rejects.toMatchObject({ code: 1, stdout: '', stderr: list });
  });
});
