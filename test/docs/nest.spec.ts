/** docs/NEST.md: its two applications are compiled as users would, and one calls the other. */
import { randomBytes } from 'node:crypto';
import { inspect } from 'node:util';
import { expect, it } from 'vitest';
import { Example, programOf, resultsIn } from './examples.js';
import { Page } from './pages.js';

const page = await Page.read('docs/NEST.md');
const COOKIE = randomBytes(32).toString('base64');
const FILES = ['stock.controller.ts', 'stock.main.ts', 'shop.ts', 'shop.main.ts'];

/** The error that the page shows, as its caller prints it. */
const REFUSED = `
stock.take({ goods: 'tea', count: 0 }).catch((error: Error & { code: string; details: unknown }) => {
  console.log(JSON.stringify([String(error), error.code, error.details]));
  return app.close();
});
`;

it('docs/NEST.md shows applications that do what it says', { timeout: 60_000 }, async () => {
  const [one = 0, other = 0] = randomBytes(2);
  const here = (text: string): string => text.replaceAll('10.0.0.', `127.${one % 250}.${other}.`).replace('3000', '0');
  const code = Object.fromEntries(FILES.map((file) => [file, page.file(file)]));
  const caller = code['shop.main.ts'] ?? '';
  const files = { ...code, 'shop.main.ts': `${programOf([caller])}${REFUSED}` };
  const shown = Object.entries(files).map(([file, text]) => [file, here(text)]);
  await using example = await Example.compile(Object.fromEntries(shown) as Record<string, string>);
  await using stock = example.start('stock.main.js', { COOKIE, NO_COLOR: '1' });
  await stock.line(/application successfully started/);
  const [checks, refused = ''] = (await example.run('shop.main.js', { COOKIE })).split('\n');
  expect(checks).toBe(String(resultsIn(caller)));
  const [text, errorCode, details] = JSON.parse(refused) as unknown[];
  const lines = [text, `  code: ${inspect(errorCode)}`, `  details: ${inspect(details, { breakLength: Infinity })}`];
  expect(`${lines.join('\n')}\n`).toBe(page.snippets('text')[0]);
});
