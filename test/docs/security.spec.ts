/** docs/SECURITY.md: its names, limits and code are those of the library, and what it promises is tried. */
import { inspect } from 'node:util';
import { describe, expect, it } from 'vitest';
import type { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import { Cluster, DRIVERS, type DriverName } from '../support/cluster.js';
import { Example } from './examples.js';
import { allOptions, defaultOf, problemsOf } from './options.js';
import { namesIn, Page, rowsOf } from './pages.js';

const page = await Page.read('docs/SECURITY.md');
const counts = await Page.read('docs/COUNTS.md');
const A = 'a@127.0.0.1';
const B = 'b@127.0.0.1';

describe('docs/SECURITY.md', () => {
  it('tells limits as they are', () => {
    const rows = rowsOf(page.section('## Limits')).map(([, option, value]) => [namesIn(option)[0] ?? '', value]);
    expect(rows.length).toBeGreaterThan(10);
    expect(rows).toEqual(rows.map(([path = '']) => [path, String(defaultOf(path))]));
    const [, addresses] = /whoever has (\d+) addresses/.exec(page.text) ?? [];
    expect(Number(addresses)).toBe(Number(defaultOf('admission.total')) / Number(defaultOf('admission.perAddress')));
    expect(page.text).toContain(`\`tls.expiryWarning\` (${String(defaultOf('tls.expiryWarning', { tls: {} }))}) days`);
  });

  it('names options and counts that there are', () => {
    const groups = new Set(allOptions().map((path) => path.split('.')[0]));
    const named = namesIn(page.text.replaceAll(/^```[^]*?^```$/gm, '')).filter(
      (name) => /^\w+\.\w+$/.test(name) && groups.has(name.split('.')[0]),
    );
    expect(named.length).toBeGreaterThan(10);
    expect(named.filter((name) => !allOptions().includes(name))).toEqual([]);
    const watched = rowsOf(page.section('## Changing certificates')).map(([cell]) => namesIn(cell)[0] ?? '');
    const known = rowsOf(counts.text).flatMap(([cell]) => namesIn(cell));
    expect(watched.filter((name) => !known.includes(name))).toEqual(['certificateDays']);
  });

  it('names options that would make TLS prove less, and there are none', () => {
    const [, list = ''] = /\*\*No switch\.\*\* (.*) and the like/.exec(page.text) ?? [];
    expect(namesIn(list).length).toBeGreaterThan(3);
    for (const name of namesIn(list)) {
      expect(problemsOf(`tls.${name}`, false)[0]?.expected).toContain('cannot be made less');
    }
  });

  it('shows code that compiles strictly', { timeout: 60_000 }, async () => {
    const [guard = '', log = '', edge = '', ...others] = page.snippets('ts');
    expect(others).toEqual([]);
    const options = `import type { GenRpcOptions } from 'nestjs-gen-rpc/core';
      export const options: Partial<GenRpcOptions> = { ${edge} };`;
    await using _ = await Example.compile({ 'guard.ts': guard, 'log.ts': log, 'edge.ts': options });
  });
});

const FORMER = 'the-former-cookie-of-these-tests-1';
const FRESH = 'a-fresh-cookie-for-these-tests-22';

/** Which of two nodes with these secrets reach each other. */
async function meet(driver: DriverName, ofA: readonly string[], ofB: readonly string[]): Promise<boolean> {
  await using cluster = new Cluster({ driver });
  await cluster.start('b', { secret: ofB });
  const a = cluster.create('a', { listen: false, secret: ofA });
  return await a.connect(B).then(
    () => true,
    (error: { code?: string }) => (expect(error.code).toBe('invalid_cookie'), false),
  );
}

describe.each(DRIVERS)('a secret is changed, over %s', (driver) => {
  it('in two rounds, in any order of the nodes within each', async () => {
    const rounds = [[FORMER], [FRESH, FORMER], [FRESH]];
    const neighbours = rounds.flatMap((one, at) => rounds.slice(at, at + 2).map((other) => [one, other] as const));
    for (const [one, other] of neighbours) {
      await expect(meet(driver, one, other)).resolves.toBe(true);
      await expect(meet(driver, other, one)).resolves.toBe(true);
    }
    await expect(meet(driver, [FRESH], [FORMER])).resolves.toBe(false);
    await expect(meet(driver, [FORMER], [FRESH])).resolves.toBe(false);
  });
});

describe.each(DRIVERS)('who is who, over %s', (driver) => {
  it('a call of the own node is local, and without a certificate', async () => {
    await using cluster = new Cluster({ driver });
    const b = await cluster.start('b');
    b.register('who', { calls: (_, { caller }) => caller });
    await expect(b.call(B, 'who', 'calls')).resolves.toEqual({ node: B, address: 'local' });
  });
});

const DATA = 'unmistakable7f3a';

/** Whatever may go wrong with a call or a cast, each with `DATA` in its arguments and headers. */
const MISHAPS: Readonly<Record<string, (a: GenRpcNode) => unknown>> = {
  none: (a) => a.call(B, 'm', 'echo', [DATA], { headers: { DATA } }),
  'a throw': (a) => a.call(B, 'm', 'throws', [DATA], { headers: { DATA } }),
  'a reply that cannot be sent': (a) => a.call(B, 'm', 'answersFunction', [DATA]),
  'an argument that cannot': (a) => a.call(B, 'm', 'echo', [DATA, { [DATA]: () => 1 }]),
  'a deadline': (a) => a.call(B, 'm', 'hangs', [DATA], { timeout: 50 }),
  'no such function': (a) => a.call(B, 'm', 'misspelt', [DATA], { headers: { DATA } }),
  'no such version': (a) => a.call(B, { module: 'm', version: '^3.0.0' }, 'echo', [DATA], { headers: { DATA } }),
  'no such node': (a) => a.call('nobody@127.0.0.1', 'm', 'echo', [DATA], { headers: { DATA } }),
  'no permission': (a) => a.call({ node: B, key: DATA }, 'forbidden', 'echo', [DATA], { headers: { DATA } }),
  'too large a message': (a) => a.call(B, 'm', 'echo', [DATA, Buffer.alloc(20_000)]),
  'a key that is not allowed': (a) => a.call(B, 'm', 'echo', [JSON.parse(`{"__proto__": "${DATA}"}`)]),
  'a cast that throws': (a) => a.cast(B, 'm', 'throws', [DATA], { headers: { DATA }, ordered: true }),
  'a cast to no function': (a) => a.cast(B, 'm', 'misspelt', [DATA], { headers: { DATA } }),
  'a cast to no node': (a) => a.cast('nobody@127.0.0.1', 'm', 'echo', [DATA], { headers: { DATA } }),
  'no such event': (a) => a.sbcast([B], 'no.such', DATA),
};

/** What both nodes log of it. */
async function logOf(driver: DriverName, mishap: (a: GenRpcNode) => unknown): Promise<string> {
  await using cluster = new Cluster({ driver, options: { maxMessageBytes: 16_384 } });
  const b = await cluster.start('b', { moduleControl: 'blacklist', moduleList: ['forbidden'] });
  b.register('m', {
    echo: (args) => args,
    throws: () => Promise.reject(new Error('on purpose')),
    answersFunction: ([text]: [string]) => ({ text, fn: () => text }),
    hangs: () => new Promise(() => {}),
  });
  const a = cluster.create('a', { listen: false });
  try {
    await mishap(a);
  } catch {
    // What the caller is told is its own.
  }
  // Casts were sent before it.
  await a.call(B, 'm', 'echo', []);
  return [...cluster.log.lines, ...cluster.log.causes.map((cause) => inspect(cause))].join('\n');
}

describe.each(DRIVERS)('what is logged, over %s', (driver) => {
  it('has names and reasons, and neither arguments, replies nor headers', async () => {
    const logs = Object.entries(MISHAPS).map(async ([name, mishap]) => [name, await logOf(driver, mishap)] as const);
    const said = Object.fromEntries(await Promise.all(logs));
    expect(said['a throw']).toContain('"m.throws" failed for a@127.0.0.1');
    expect(said['no such function']).toContain('"m.misspelt"');
    expect(said['a cast to no function']).toContain('"m.misspelt"');
    expect(Object.entries(said).filter(([, log]) => log.includes(DATA))).toEqual([]);
  });

  it('says no more than one line of a kind within a second', async () => {
    await using cluster = new Cluster({ driver });
    const b = await cluster.start('b');
    const a = cluster.create('a', { listen: false });
    const misspelt = Array.from({ length: 200 }, () => a.call(B, 'm', 'misspelt').catch(() => {}));
    await Promise.all(misspelt);
    expect(b.stats().counts.call_refused).toBe(200);
    const lines = cluster.log.lines.filter((line) => line.startsWith('Refused '));
    expect(lines.length).toBeLessThan(20);
    expect(lines[0]).toBe(`Refused "m.misspelt" for ${A}: undefined_function`);
  });
});
