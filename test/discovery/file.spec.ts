/** Nodes in a file: how it is written, and what happens when it is replaced while a node runs. */
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execFileSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { FileDiscovery, type FileDiscoveryOptions } from '../../lib/discovery/file.discovery.js';
import { GenRpcConfigError } from '../../lib/options/config-error.js';
import type { Files } from '../../lib/ports/files.js';
import { systemFiles } from '../../lib/system/system-files.js';
import { VirtualClock } from '../../lib/testing/virtual-clock.js';
import { CountedClock } from '../support/counted-clock.js';
import { until } from '../support/door.js';
import { ToldTable } from '../support/told-table.js';

const MATH = 'math@10.0.0.2';
const STOCK = 'stock@10.0.0.3';
const ONE = JSON.stringify({ [MATH]: {} });
const TWO = JSON.stringify({ [MATH]: {}, [STOCK]: {} });

/** A file that only tells of changes when the test says so, a clock that waits, and who listens. */
class Written implements AsyncDisposable {
  readonly clock = new VirtualClock();
  readonly table = new ToldTable(this.clock);
  readonly source: FileDiscovery;
  /** `undefined`: there is no file. */
  text: string | undefined;
  reads = 0;
  private readonly watches = new Set<object>();
  private changed = (): void => {};

  constructor(text?: string) {
    this.text = text;
    const files: Files = {
      read: () => {
        this.reads += 1;
        if (this.text === undefined) throw Object.assign(new Error('ENOENT: no such file'), { code: 'ENOENT' });
        return Buffer.from(this.text);
      },
      replace: () => {},
      watch: (paths, changed) => {
        expect(paths).toEqual(['nodes.json']);
        const watch = { close: () => void this.watches.delete(watch) };
        this.watches.add(watch);
        this.changed = changed;
        return watch;
      },
    };
    const random = { fraction: () => 0.5, bytes: () => new Uint8Array() };
    this.source = new FileDiscovery({ path: 'nodes.json' }, { clock: this.clock, random, files });
  }

  watch(): this {
    this.source.watch(this.table);
    return this;
  }

  /** It is written, and that is told. */
  write(text: string | undefined): void {
    this.text = text;
    this.changed();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.source.close();
    await this.source.close();
    this.table.membership.close();
    expect(this.clock.pending).toBe(0);
    expect(this.watches.size).toBe(0);
  }
}

describe('a file of nodes', () => {
  it('says where they are, and what can be called there, as the option nodes does', async () => {
    const place = { host: 'math.internal', port: 6000, driver: 'tls' };
    const more = { modules: ['math', { module: 'stats', version: '1.2.0' }, 'stats'], priority: 1, weight: 20 };
    await using file = new Written(JSON.stringify({ [MATH]: { ...place, ...more }, [STOCK]: {} })).watch();
    expect(file.table.record(MATH)).toEqual({
      name: MATH,
      locations: [place],
      modules: [
        { name: 'math', versions: [''] },
        { name: 'stats', versions: ['1.2.0', ''] },
      ],
      priority: 1,
      weight: 20,
    });
    expect(file.table.record(STOCK)?.locations).toEqual([{}]);
    await expect(file.source.resolve(MATH)).resolves.toEqual(place);
    await expect(file.source.resolve('other@10.0.0.9')).resolves.toEqual({});
  });

  it('is read for whoever asks before anybody watches', async () => {
    await using file = new Written();
    const failure = await file.source.resolve(MATH).catch((error: unknown) => error);
    expect(failure).toMatchObject({ code: 'external_source_error', maybeExecuted: false });
    expect(String(failure)).toContain('nodes.json cannot be used: ENOENT');
    file.text = JSON.stringify({ [MATH]: { port: 7 } });
    await expect(file.source.resolve(MATH)).resolves.toEqual({ port: 7 });
  });

  it('is read again half a second after it has changed, once for however many writes', async () => {
    await using file = new Written(ONE).watch();
    file.write(TWO);
    file.write(TWO);
    await file.clock.advance(499);
    expect(file.table.names).toEqual([MATH]);
    await file.clock.advance(1);
    expect(file.table.names).toEqual([MATH, STOCK]);
    expect(file.reads).toBe(2);
    file.write(TWO);
    await file.clock.advance(1000);
    expect(file.table.told).toHaveLength(2);
  });

  it('is read every minute, as not every change is told, and then counts as told', async () => {
    await using file = new Written(ONE).watch();
    file.text = TWO;
    await file.clock.advance(59_999);
    expect(file.table.names).toEqual([MATH]);
    await file.clock.advance(1);
    expect(file.table.names).toEqual([MATH, STOCK]);
    await file.clock.advance(60_000);
    expect(file.table.membership.ageMs).toBe(0);
  });

  it.each([
    ['is empty', '', 'JSON'],
    ['is half a file', ONE.slice(0, -3), 'JSON'],
    ['is gone', undefined, 'ENOENT'],
    ['is something else', '[1, 2]', 'an object from node name to place was expected'],
    ['has a name that is none', '{ "math": {} }', '"math": expected name@host'],
    ['has an option that there is not', `{ "${MATH}": { "prot": 1 } }`, 'did you mean port?'],
    [
      'has a value that cannot be',
      `{ "${MATH}": { "port": 70000 } }`,
      'expected a whole number from 1 to 65535, got 70000',
    ],
  ])('that %s leaves what was known, and fails once it has had time to be written', async (_, text, message) => {
    await using file = new Written(TWO).watch();
    file.write(text);
    await file.clock.advance(999);
    expect(file.table.messages).toEqual([]);
    await file.clock.advance(1);
    expect(file.table.messages).toHaveLength(1);
    expect(file.table.messages[0]).toContain('nodes.json cannot be used: ');
    expect(file.table.messages[0]).toContain(message);
    expect(file.table.names).toEqual([MATH, STOCK]);
    await expect(file.source.resolve(STOCK)).resolves.toEqual({});
    await file.clock.advance(60_000);
    expect(file.table.messages).toHaveLength(2);
    file.write(ONE);
    await file.clock.advance(500);
    expect(file.table.names).toEqual([MATH]);
  });

  it('that is whole half a second later has never failed', async () => {
    await using file = new Written(ONE).watch();
    file.write(TWO.slice(0, 9));
    await file.clock.advance(500);
    file.write(TWO);
    await file.clock.advance(500);
    expect(file.table).toMatchObject({ messages: [], names: [MATH, STOCK] });
  });

  it('that was away for a moment is the same file', async () => {
    await using file = new Written(ONE).watch();
    file.write(undefined);
    await file.clock.advance(1000);
    file.write(ONE);
    await file.clock.advance(500);
    expect(file.table.messages).toHaveLength(1);
    expect(file.table.told).toHaveLength(2);
    await file.clock.advance(60_000);
    expect(file.table.messages).toHaveLength(1);
  });

  it('is waited for when it is missing at the start', async () => {
    await using file = new Written().watch();
    expect(file.table.messages).toEqual([expect.stringContaining('ENOENT')]);
    expect(file.table.told).toEqual([]);
    file.write(ONE);
    await file.clock.advance(500);
    expect(file.table.names).toEqual([MATH]);
  });

  it('D-03 without a node in it is doubted, and believed when it still says so a second later', async () => {
    await using file = new Written(TWO).watch();
    file.write('{}');
    await file.clock.advance(500);
    expect(file.table).toMatchObject({ doubts: 1, names: [MATH, STOCK] });
    await file.clock.advance(999);
    expect(file.table.names).toEqual([MATH, STOCK]);
    await file.clock.advance(1);
    expect(file.table).toMatchObject({ doubts: 1, names: [], messages: [] });
  });

  it('D-03 without a node in it for a moment has taken nobody away', async () => {
    await using file = new Written(TWO).watch();
    file.write('{}');
    await file.clock.advance(500);
    file.write(TWO);
    await file.clock.advance(60_000);
    expect(file.table).toMatchObject({ doubts: 1, names: [MATH, STOCK] });
  });

  it('tells of at most ten problems, and repeats nothing that a terminal would obey', async () => {
    const names = Array.from({ length: 50 }, (_, at) => [`no\u001b[31mde${at}`, {}]);
    await using file = new Written(JSON.stringify(Object.fromEntries(names))).watch();
    const [said = ''] = file.table.messages;
    expect(said).toContain('10 problems in it, the first of 50\n');
    expect(said.split('\n')).toHaveLength(11);
    expect(said).toMatch(/^[\x20-\x7e\n…]+$/);
  });

  it.each<[unknown, string]>([
    [{}, 'path: expected the path of a file'],
    [{ path: '' }, 'path: expected the path of a file'],
    [{ path: 'a', pat: 'b' }, 'pat: expected no option of this name; did you mean path?'],
    [undefined, 'expected an object'],
  ])('is told by options that are right: %j', (options, problem) => {
    const make = (): unknown => new FileDiscovery(options as FileDiscoveryOptions);
    expect(make).toThrow(GenRpcConfigError);
    expect(make).toThrow(problem);
  });
});

/** A directory of this machine with a file of nodes in it. */
class Directory implements AsyncDisposable {
  readonly path = mkdtempSync(join(tmpdir(), 'gen-rpc-nodes-'));
  readonly clock = new CountedClock();
  readonly table = new ToldTable(this.clock);
  readonly source = new FileDiscovery({ path: this.at('nodes.json') }, { clock: this.clock });

  at(name: string): string {
    return join(this.path, name);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.source.close();
    expect(this.clock.pending).toBe(0);
    rmSync(this.path, { recursive: true });
  }
}

describe('a file of nodes on a disk', () => {
  it('may be written in place, and replaced by another', async () => {
    await using directory = new Directory();
    const { table } = directory;
    directory.source.watch(table);
    expect(table.messages).toEqual([expect.stringContaining('ENOENT')]);
    writeFileSync(directory.at('nodes.json'), ONE);
    await until(() => table.names.length === 1);
    writeFileSync(directory.at('nodes.json.new'), TWO);
    renameSync(directory.at('nodes.json.new'), directory.at('nodes.json'));
    await until(() => table.names.length === 2);
  });

  it('may be a ConfigMap, whose directory Kubernetes swaps', async () => {
    await using directory = new Directory();
    const { table } = directory;
    mkdirSync(directory.at('..1'));
    writeFileSync(directory.at('..1/nodes.json'), ONE);
    symlinkSync('..1', directory.at('..data'));
    symlinkSync('..data/nodes.json', directory.at('nodes.json'));
    directory.source.watch(table);
    expect(table.names).toEqual([MATH]);
    for (const [version, text] of [
      ['..2', TWO],
      ['..3', ONE],
    ] as const) {
      mkdirSync(directory.at(version));
      writeFileSync(directory.at(`${version}/nodes.json`), text);
      symlinkSync(version, directory.at('..data_tmp'));
      renameSync(directory.at('..data_tmp'), directory.at('..data'));
      await until(() => table.names.length === (text === TWO ? 2 : 1));
    }
  });

  it('is at most 1 MiB, and no pipe or device that would be read for ever', async () => {
    await using directory = new Directory();
    const path = directory.at('nodes.json');
    const reason = async (): Promise<string> => {
      const source = new FileDiscovery({ path });
      return source.resolve(MATH).then(
        () => 'none',
        (error: Error) => error.message,
      );
    };
    writeFileSync(path, `${ONE}${' '.repeat(2 ** 20 - ONE.length)}`);
    await expect(reason()).resolves.toBe('none');
    writeFileSync(path, `${ONE}${' '.repeat(2 ** 20 - ONE.length + 1)}`);
    await expect(reason()).resolves.toContain('EFBIG');
    rmSync(path);
    execFileSync('mkfifo', [path]);
    await expect(reason()).resolves.toContain('EINVAL');
    rmSync(path);
    symlinkSync('/dev/zero', path);
    await expect(reason()).resolves.toContain('EINVAL');
    expect(systemFiles.read('/dev/null')).toHaveLength(0);
  });

  it('that cannot be watched is read all the same', async () => {
    await using directory = new Directory();
    const source = new FileDiscovery({ path: directory.at('nowhere/nodes.json') }, { clock: directory.clock });
    source.watch(directory.table);
    expect(directory.table.messages).toHaveLength(1);
    await source.close();
    await expect(source.resolve(MATH)).rejects.toMatchObject({ code: 'external_source_error' });
  });
});
