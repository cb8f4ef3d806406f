/** docs/SECURITY.md: its names, limits and code are those of the library, and what it promises is tried. */
import { describe, expect, it } from 'vitest';
import type { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import { Cluster, DRIVERS, type DriverName } from '../support/cluster.js';
import { until } from '../support/door.js';
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

/** Calls whose arguments, headers and replies hold `data`, and that end in every way there is. */
async function everything(a: GenRpcNode, data: string): Promise<void> {
  const headers = { tenant: data };
  const calls = [
    a.call(B, 'm', 'echo', [data], { headers }),
    a.call(B, 'm', 'throws', [data], { headers }),
    a.call(B, 'm', 'answersFunction', [data]),
    a.call(B, 'm', 'hangs', [data], { timeout: 50 }),
    a.call(B, 'm', 'misspelt', [data]),
    a.call({ node: B, key: data }, 'm', 'echo', [data]),
    a.call(B, 'forbidden', 'echo', [data]),
    a.call(B, { module: 'm', version: '^3.0.0' }, 'echo', [data]),
    a.call(B, 'm', 'echo', [data, { key: data, fn: () => 1 }]),
    a.call(B, 'm', 'echo', [data, Buffer.alloc(20_000)]),
    a.call(B, 'm', 'echo', [JSON.parse(`{"__proto__": "${data}"}`)]),
    a.call('nobody@127.0.0.1', 'm', 'echo', [data]),
  ];
  await Promise.allSettled(calls);
  a.cast(B, 'm', 'throws', [data], { headers, ordered: true });
  a.cast(B, 'm', 'misspelt', [data]);
  a.cast('nobody@127.0.0.1', 'm', 'echo', [data]);
  await a.sbcast([B], 'no.such', data);
}

describe.each(DRIVERS)('what is logged, over %s', (driver) => {
  it('has names and reasons, and neither arguments, replies nor headers', async () => {
    const data = 'unmistakable7f3a';
    await using cluster = new Cluster({ driver, options: { maxMessageBytes: 16_384 } });
    const b = await cluster.start('b', { moduleControl: 'blacklist', moduleList: ['forbidden'] });
    b.register('m', {
      echo: (args) => args,
      throws: () => Promise.reject(new Error('on purpose')),
      answersFunction: ([text]: [string]) => ({ text, fn: () => text }),
      hangs: () => new Promise(() => {}),
    });
    const a = cluster.create('a', { listen: false });
    await everything(a, data);
    await until(() => (b.stats().counts.cast_failed ?? 0) >= 2);
    const said = [...cluster.log.lines, ...cluster.log.causes.map(String)].join('\n');
    expect(said).toContain('"m.throws" failed for a@127.0.0.1');
    expect(said).toContain('"m.misspelt"');
    expect(said).not.toContain(data);
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
