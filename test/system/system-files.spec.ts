/** What the operating system tells: of files that real tools replace, and by signals. */
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { systemSignals } from '../../lib/system/system.js';
import { systemFiles } from '../../lib/system/system-files.js';
import { until } from '../support/door.js';

/** A directory, and how often a change in it was told. */
class Watched implements AsyncDisposable {
  readonly directory = mkdtempSync(join(tmpdir(), 'gen-rpc-files-'));
  readonly failures: unknown[] = [];
  told = 0;
  private close = (): void => {};

  at(name: string): string {
    return join(this.directory, name);
  }

  /** In the place of what was watched before. */
  watch(...paths: string[]): void {
    this.close();
    const watch = systemFiles.watch(
      paths,
      () => (this.told += 1),
      (cause) => this.failures.push(cause),
    );
    this.close = () => watch.close();
  }

  /** Waits until it is told that `change` has happened. */
  async tells(change: () => void): Promise<void> {
    const before = this.told;
    change();
    await until(() => this.told > before);
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.close();
    this.close();
    rmSync(this.directory, { recursive: true });
    return Promise.resolve();
  }
}

describe('files of the operating system', () => {
  it('are told of when they are written in place, and when others are moved over them', async () => {
    await using files = new Watched();
    writeFileSync(files.at('a.pem'), 'old');
    files.watch(files.at('a.pem'));
    await files.tells(() => writeFileSync(files.at('a.pem'), 'newer'));
    writeFileSync(files.at('.a.pem.new'), 'newest');
    await files.tells(() => renameSync(files.at('.a.pem.new'), files.at('a.pem')));
    expect(systemFiles.read(files.at('a.pem')).toString()).toBe('newest');
  });

  it('are told of when the directory that a link leads through is swapped, as Kubernetes does', async () => {
    await using files = new Watched();
    mkdirSync(files.at('..2024'));
    writeFileSync(files.at('..2024/tls.crt'), 'old');
    symlinkSync('..2024', files.at('..data'));
    symlinkSync('..data/tls.crt', files.at('tls.crt'));
    files.watch(files.at('tls.crt'));
    mkdirSync(files.at('..2025'));
    writeFileSync(files.at('..2025/tls.crt'), 'new');
    symlinkSync('..2025', files.at('..data_tmp'));
    await files.tells(() => renameSync(files.at('..data_tmp'), files.at('..data')));
    expect(systemFiles.read(files.at('tls.crt')).toString()).toBe('new');
  });

  it('are told of when a link is laid anew, and when what it leads to is written', async () => {
    await using files = new Watched();
    for (const directory of ['live', 'archive']) mkdirSync(files.at(directory));
    for (const name of ['1', '2']) writeFileSync(files.at(`archive/${name}`), name);
    symlinkSync('../archive/1', files.at('live/cert.pem'));
    files.watch(files.at('live/cert.pem'));
    await files.tells(() => writeFileSync(files.at('archive/1'), 'one'));
    files.watch(files.at('live/cert.pem'));
    await files.tells(() => {
      unlinkSync(files.at('live/cert.pem'));
      symlinkSync('../archive/2', files.at('live/cert.pem'));
    });
  });

  it('that are not there may come; directories that are not there are told to be so', async () => {
    await using files = new Watched();
    files.watch(files.at('later.pem'), files.at('nowhere/a.pem'));
    expect(files.failures).toEqual([expect.objectContaining({ code: 'ENOENT' })]);
    await files.tells(() => writeFileSync(files.at('later.pem'), 'there'));
    expect(() => systemFiles.read(files.at('nowhere/a.pem'))).toThrow(expect.objectContaining({ code: 'ENOENT' }));
  });
});

describe('signals of the operating system', () => {
  it('are told until somebody has heard enough', async () => {
    let told = 0;
    const before = process.listenerCount('SIGUSR2');
    const watch = systemSignals.on('SIGUSR2', () => (told += 1));
    process.kill(process.pid, 'SIGUSR2');
    await until(() => told === 1);
    watch.close();
    watch.close();
    expect(process.listenerCount('SIGUSR2')).toBe(before);
  });
});
