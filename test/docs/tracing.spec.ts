/** docs/TRACING.md: its code compiles and gives what it says; its table of attributes is that of spans as they are. */
import { randomBytes } from 'node:crypto';
import { expect, it } from 'vitest';
import { openTelemetry } from '../../lib/opentelemetry.js';
import { Cluster } from '../support/cluster.js';
import { Spans } from '../support/spans.js';
import { Example, programOf, resultsIn } from './examples.js';
import { namesIn, Page, rowsOf } from './pages.js';

const page = await Page.read('docs/TRACING.md');

it('docs/TRACING.md shows code that compiles strictly and gives what it says', { timeout: 60_000 }, async () => {
  const code = page.snippets('ts');
  await using example = await Example.compile({ 'page.ts': programOf(code) });
  expect(resultsIn(code.join('\n'))).toBe(4);
  expect(await example.run('page.js', { COOKIE: randomBytes(32).toString('base64') })).toBe('4');
});

it('docs/TRACING.md names every attribute, and no other', async () => {
  await using spans = new Spans();
  await using cluster = new Cluster({ options: { tracing: openTelemetry() } });
  await cluster.start('b');
  const failed = cluster.create('a').call('b@127.0.0.1', 'no', 'such');
  await expect(failed).rejects.toMatchObject({ code: 'undefined_function' });
  const seen = new Set((await spans.all(2)).flatMap(({ attributes }) => Object.keys(attributes)));
  const named = rowsOf(page.section('## What a span says')).flatMap(([cell]) => namesIn(cell));
  expect(named.toSorted()).toEqual([...seen].toSorted());
});
