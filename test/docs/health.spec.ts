/** docs/HEALTH.md: its controller compiles as it stands, and its answer is one. */
import { expect, it } from 'vitest';
import { GenRpcHealthIndicator } from '../../lib/nest/gen-rpc.health.js';
import { Cluster } from '../support/cluster.js';
import { tlsOf } from '../support/tls.js';
import { Example } from './examples.js';
import { namesIn, Page, rowsOf } from './pages.js';

const page = await Page.read('docs/HEALTH.md');

it('docs/HEALTH.md shows a controller that compiles strictly', { timeout: 60_000 }, async () => {
  await using example = await Example.compile({
    'page.ts': `${page.snippets('ts').join('\n')}\nvoid HealthController;`,
  });
  expect(await example.run('page.js', {})).toBe('');
});

it('docs/HEALTH.md shows an answer as it is, and every question', async () => {
  await using cluster = new Cluster({ driver: 'tls' });
  const node = await cluster.start('orders', { tls: await tlsOf('orders@127.0.0.1', { days: 62 }) });
  const shown = page.snippets('json').join('').replace('orders@10.0.0.1', node.name);
  expect(new GenRpcHealthIndicator(node).isReady('rpc')).toEqual(JSON.parse(shown));
  const named = rowsOf(page.text).flatMap(([cell]) => namesIn(cell).map((one) => one.split('(')[0]));
  const asked = Object.getOwnPropertyNames(GenRpcHealthIndicator.prototype).filter((name) => name.startsWith('is'));
  expect(asked.filter((name) => !named.includes(name))).toEqual([]);
});
