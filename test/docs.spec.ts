/** What the pages for users say is held against the library: names, defaults, limits, and every line of code with a result. */
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { AsyncCall } from '../lib/node/async-call.js';
import { GenRpcNode } from '../lib/node/gen-rpc-node.js';
import { GenRpcError, type GenRpcErrorCode } from '../lib/protocol/errors.js';
import { ERRORS, SETTINGS, VERBS } from './docs/gen-rpc-names.js';
import { Example, programOf, resultsIn } from './docs/examples.js';
import { allOptions, defaultOf, problemsOf, strayGroups } from './docs/options.js';
import { namesIn, Page, ROOT, rowsOf } from './docs/pages.js';

const genRpc = await Page.read('docs/GEN_RPC.md');
const settings = await Page.read('docs/SETTINGS.md');
const counts = await Page.read('docs/COUNTS.md');
const errors = await Page.read('docs/errors.md');
const migration = await Page.read('docs/MIGRATION.md');
const journal = await Page.read('lib/connection/journal.ts');
const COOKIE = randomBytes(32).toString('base64');

describe('docs/GEN_RPC.md', () => {
  const erlang = genRpc.snippets('erlang').join('\n');
  const typescript = genRpc.snippets('ts').join('\n');

  it.each(Object.entries(VERBS))('has %s in its table, and in an example in both languages', (theirs, ours) => {
    const row = rowsOf(genRpc.section('## Verbs')).find(([first]) => first === `\`${theirs}\``);
    expect(row?.[1]).toContain(`${ours}(`);
    expect(ours in GenRpcNode.prototype || ours in AsyncCall.prototype).toBe(true);
    expect(erlang).toContain(`gen_rpc:${theirs}(`);
    expect(typescript).toMatch(new RegExp(`\\.${ours}(<\\w+>)?\\(`));
  });

  it('has every setting, and what it is here', () => {
    const rows = rowsOf(genRpc.section('## Settings')).filter(([first]) => namesIn(first).length > 0);
    expect(Object.fromEntries(rows.map(([theirs, , ours]) => [namesIn(theirs)[0], hereOf(ours)]))).toStrictEqual(
      SETTINGS,
    );
  });

  it('tells the defaults that settings have here', () => {
    for (const [theirs, , ours, byDefault = ''] of rowsOf(genRpc.section('## Settings'))) {
      const path = hereOf(ours);
      if (path === undefined || WITHOUT_DEFAULT.has(path)) continue;
      const told = theirs?.includes('ssl_') === true ? { tls: {} } : {};
      // What is off until it is asked for has a default all the same.
      const value = byDefault === 'off' ? '1' : byDefault.replace(/ ms$/, '').replaceAll('`', '');
      expect(`${path} ${value}`).toBe(`${path} ${written(defaultOf(path, told))}`);
    }
  });

  it('has every error, with its family', () => {
    const rows = rowsOf(genRpc.section('## Errors')).map(([theirs, ours, family]) => {
      return [namesIn(ours)[0] ?? '', { theirs: namesIn(theirs)[0], family: namesIn(family)[0] }] as const;
    });
    const codes = Object.keys(ERRORS) as GenRpcErrorCode[];
    const real = codes.map((code) => [code, { theirs: ERRORS[code], family: new GenRpcError(code).family }] as const);
    expect(Object.fromEntries(rows)).toEqual(Object.fromEntries(real));
    expect(rows).toHaveLength(codes.length);
  });

  it('shows code that compiles strictly and gives what it says', { timeout: 60_000 }, async () => {
    // A node that was found to be down stays so for what the page does next, however slow the machine is.
    const patient = 'GenRpcModule.forRoot({ reconnect: { min: 60_000, max: 60_000 }, ';
    const page = programOf(genRpc.snippets('ts'))
      .replaceAll('10.0.0.', network())
      .replaceAll('GenRpcModule.forRoot({', patient);
    await using example = await Example.compile({ 'page.ts': page, 'option.ts': optionsOf(settings.snippets('ts')) });
    expect(resultsIn(typescript)).toBeGreaterThan(30);
    expect(await example.run('page.js', { COOKIE })).toBe(String(resultsIn(typescript)));
  });
});

const WITHOUT_DEFAULT = new Set(['secret', 'nodes', 'tls.server', 'tls.client']);

/** Addresses of this machine that nobody else listens on, for nodes that all want the same port. */
function network(): string {
  const [one = 0, other = 0] = randomBytes(2);
  return `127.${one % 250}.${other}.`.replace('127.0.0.', '127.0.1.');
}

/** Options as the page shows them, where a user would write them. */
function optionsOf(snippets: readonly string[]): string {
  return `
    import type { GenRpcOptions } from 'nestjs-gen-rpc/core';
    declare const registry: { lookup(node: string): Promise<{ address: string; port: number }> };
    ${snippets.map((one, at) => `export const options${at}: Partial<GenRpcOptions> = { ${one} };`).join('\n')}`;
}

/** The option that a cell begins with, if it names one. */
function hereOf(cell = ''): string | undefined {
  return /^`([^`]+)`/.exec(cell)?.[1];
}

function written(value: unknown): string {
  return Array.isArray(value) ? JSON.stringify(value) : typeof value === 'string' ? `'${value}'` : String(value);
}

/** In place of a default: what a node without the option does instead. */
const NO_VALUE = /^(none|required for TLS|drawn at the start|the name's host|`clientPort`.*|`driver`|as in `tls`)$/;

describe('docs/SETTINGS.md', () => {
  const rows = rowsOf(settings.text).map(([path, , unit, allowed = '', byDefault = '', theirs]) => {
    return { path: namesIn(path)[0] ?? '', unit, allowed, byDefault, theirs: namesIn(theirs) };
  });

  it('names every option that there is, once, and no other', () => {
    expect(strayGroups()).toEqual([]);
    expect(rows.map(({ path }) => path).sort()).toEqual(allOptions().sort());
  });

  it('tells their defaults', () => {
    for (const { path, byDefault } of rows) {
      const real = defaultOf(path);
      if (path === 'name' || path === 'secret') expect.soft(byDefault, path).toBe('required');
      else if (real === undefined || real instanceof Map) expect.soft(byDefault, path).toMatch(NO_VALUE);
      else if (typeof real === 'object' && !Array.isArray(real)) expect.soft(byDefault, path).toBe('on');
      else expect.soft(namesIn(byDefault)[0], path).toBe(written(real));
    }
  });

  it('tells what they may be', () => {
    for (const { path, unit, allowed } of rows) {
      const last = path.split('.').at(-1) ?? path;
      const isRefused = (value: unknown): boolean => problemsOf(path, value).some((one) => one.path.endsWith(last));
      const { right, wrong } = valuesOf(allowed);
      const accepted = wrong.filter((value) => !isRefused(value));
      expect.soft({ path, refused: right.filter(isRefused), accepted }).toEqual({ path, refused: [], accepted: [] });
      expect.soft(allowed.startsWith('time'), path).toBe(unit === 'ms');
    }
  });

  it('tells what gen_rpc calls them, as their error does', () => {
    for (const { path, theirs } of rows) {
      for (const name of theirs) {
        expect.soft(SETTINGS[name], name).toBe(path);
        expect.soft(problemsOf(name, 1)[0]?.expected, name).toContain(`did you mean ${path}?`);
      }
    }
  });

  it("names all of gen_rpc's settings that there are here", () => {
    const known = Object.keys(SETTINGS).filter((name) => SETTINGS[name] !== undefined);
    expect(rows.flatMap(({ theirs }) => theirs).sort()).toEqual(known.sort());
  });
});

/** The values that a cell allows, and the nearest ones that it does not. */
function valuesOf(allowed: string): { right: unknown[]; wrong: unknown[] } {
  const endless = allowed.includes('`Infinity`');
  const range = /^(\d+) to (\d+)$/.exec(allowed.replace(/^time(, `Infinity`)?$/, `1 to ${2 ** 31 - 1}`));
  if (range !== null) {
    const [least, most] = [Number(range[1]), Number(range[2])];
    const beyond = [least - 1, least + 0.5, most + 1, String(least)];
    return endless
      ? { right: [least, most, Infinity], wrong: beyond }
      : { right: [least, most], wrong: [...beyond, Infinity] };
  }
  const texts = [...allowed.matchAll(/`'([^']+)'`/g)].map(([, text]) => text);
  if (texts.length > 0) return { right: texts, wrong: ['another', 7] };
  if (allowed === '`true`, `false`') return { right: [true, false], wrong: ['true', 1] };
  if (/^an object.*, `false`$/.test(allowed)) return { right: [{}, false], wrong: [true, 'false'] };
  return { right: [], wrong: [7] };
}

describe('docs/COUNTS.md', () => {
  it('names everything that is counted, and nothing else', () => {
    const [, kinds = ''] = /export type Occurrence =(.*?);/s.exec(journal.text) ?? [];
    const counted = [...kinds.matchAll(/'(\w+)'/g)].map(([, kind]) => kind);
    expect(counted).toContain('cast_dropped');
    expect(new Set(rowsOf(counts.text).map(([cell]) => namesIn(cell)[0]))).toEqual(new Set(counted));
    expect(rowsOf(counts.text)).toHaveLength(counted.length);
  });
});

/** Asks a node that fails in three ways, over HTTP. */
const GATEWAY = `
import 'reflect-metadata';
import { Controller, Get, Inject, Module, NotFoundException, Param, UseFilters } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { GenRpcModule, GenRpcNode, GenRpcServer, RpcFunction, RpcModule } from 'nestjs-gen-rpc';
import { StatusFilter } from './status-filter.js';

@RpcModule('orders')
class Orders {
  @RpcFunction() missing(): never { throw new NotFoundException('There is no order 7.'); }
  @RpcFunction() broken(): never { throw new Error('SELECT secret'); }
}

@UseFilters(StatusFilter)
@Controller()
class Gateway {
  constructor(@Inject(GenRpcNode) private readonly rpc: GenRpcNode) {}
  @Get(':fn') ask(@Param('fn') fn: string) {
    return this.rpc.call(fn === 'away' ? 'away@127.0.0.1' : 'own@127.0.0.1', 'orders', fn);
  }
}

const node = GenRpcModule.forRoot({
  ...{ name: 'own@127.0.0.1', secret: process.env.COOKIE ?? '', listen: { port: 0 } },
  nodes: { 'away@127.0.0.1': { port: 1 } },
});
@Module({ imports: [node], controllers: [Orders, Gateway] })
class App {}

const app = await NestFactory.create(App, { logger: false });
app.connectMicroservice({ strategy: app.get(GenRpcServer) });
await app.startAllMicroservices();
await app.listen(0, '127.0.0.1');
const url = await app.getUrl();
const answers: Record<string, unknown> = {};
for (const fn of ['missing', 'away', 'broken']) answers[fn] = await (await fetch(url + '/' + fn)).json();
console.log(JSON.stringify(answers));
await app.close();
`;

describe('docs/errors.md', () => {
  const codes = Object.keys(ERRORS) as GenRpcErrorCode[];
  const entries = errors.text.split(/^## /m).slice(1);

  it('has an entry for every code, and no other', () => {
    expect(new Set(entries.map((entry) => entry.split('\n')[0]))).toEqual(new Set(codes));
    expect(entries).toHaveLength(codes.length);
  });

  it.each(codes)('is where the help of %s leads, in the package', async (code) => {
    const [, path = '', anchor = ''] = /^nestjs-gen-rpc\/(.*)#(.*)$/.exec(new GenRpcError(code).help) ?? [];
    expect((await Page.read(path)).anchors()).toContain(anchor);
    expect(anchor).toBe(code);
    expect(JSON.parse((await Page.read('package.json')).text)).toMatchObject({
      files: expect.arrayContaining([dirname(path)]),
    });
  });

  it.each(codes)('tells of %s its family, when it may have run, what gen_rpc calls it, why and what to do', (code) => {
    const entry = entries.find((one) => one.startsWith(`${code}\n`)) ?? '';
    const [facts = '', meaning = ''] = entry.split('\n\n').slice(1);
    const [family, mayHaveRun = '', theirs = ''] = facts.split(' · ');
    expect(family).toBe(`\`${new GenRpcError(code).family}\``);
    expect(theirs.replace(/^gen_rpc: /, '').split('`')[1]).toBe(ERRORS[code]);
    const row = rowsOf(genRpc.section('## Errors')).find(([, ours]) => namesIn(ours)[0] === code);
    const told = row?.[3] === 'as above' ? 'if a byte of it left, or may have' : row?.[3];
    expect(mayHaveRun).toBe(`may have run: ${told}`);
    expect(meaning).toMatch(/^[A-Z].*\.$/m);
    expect(entry).toMatch(/^- \*Usually:\* .+\n- \*Do:\* .+/m);
  });

  it('shows a filter for gateways, which answers with what it says', { timeout: 60_000 }, async () => {
    const [filter = ''] = errors.snippets('ts');
    await using example = await Example.compile({ 'status-filter.ts': filter, 'gateway.ts': GATEWAY });
    const answers = JSON.parse(await example.run('gateway.js', { COOKIE })) as unknown;
    expect(answers).toEqual({
      missing: { statusCode: 404, message: 'There is no order 7.', error: 'Not Found' },
      away: { statusCode: 503, message: expect.stringContaining('(ECONNREFUSED)') },
      broken: { statusCode: 500, message: 'Internal server error' },
    });
  });
});

describe('docs/MIGRATION.md', () => {
  it('shows code that compiles strictly, before and after', { timeout: 60_000 }, async () => {
    const files = migration.snippets('ts').map((code, at) => [`snippet-${at}.ts`, code] as const);
    expect(files).toHaveLength(7);
    const app = { 'app.module.ts': 'export class AppModule {}\n' };
    await using _ = await Example.compile({ ...Object.fromEntries(files), ...app });
  });
});

const inDocs = (await readdir(join(ROOT, 'docs'))).filter((name) => name.endsWith('.md')).map((name) => `docs/${name}`);
const pages = await Promise.all(['README.md', 'sample/README.md', ...inDocs].map((path) => Page.read(path)));

describe.each(pages)('$path', (page) => {
  it('links to what there is', async () => {
    for (const link of page.links()) expect(existsSync(join(ROOT, dirname(page.path), link)), link).toBe(true);
    for (const [, path = '', anchor = ''] of page.text.matchAll(/\]\(([^)#]*)#([^)]+)\)/g)) {
      const target = path === '' ? page : await Page.read(join(dirname(page.path), path));
      expect(target.anchors(), `${path}#${anchor}`).toContain(anchor);
    }
  });
});
