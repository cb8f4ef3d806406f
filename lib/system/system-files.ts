/** Files as the operating system has them. Directories are watched, as most tools replace files instead of writing them. */
import {
  closeSync,
  constants,
  fstatSync,
  openSync,
  readFileSync,
  readSync,
  realpathSync,
  renameSync,
  watch,
  writeFileSync,
  type FSWatcher,
} from 'node:fs';
import { dirname } from 'node:path';
import type { Files } from '../ports/files.js';

export const systemFiles: Files = {
  read: (path, most) => (most === undefined ? readFileSync(path) : readAtMost(path, most)),
  replace(path, text) {
    const beside = `${path}.${process.pid}.new`;
    writeFileSync(beside, text, { mode: 0o600 });
    renameSync(beside, path);
  },
  watch(paths, changed, failed) {
    const watchers = directoriesOf(paths).flatMap((directory) => watcherOf(directory, changed, failed) ?? []);
    return { close: () => watchers.forEach((watcher) => watcher.close()) };
  },
};

/** Whatever is there: a pipe would keep the process waiting, a device would never end. */
function readAtMost(path: string, most: number): Buffer {
  const file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    if (!fstatSync(file).isFile()) throw failure('EINVAL', `${path} is no regular file`);
    const bytes = Buffer.alloc(most + 1);
    let length = 0;
    for (let read = -1; read !== 0 && length < bytes.length; length += read) {
      read = readSync(file, bytes, length, bytes.length - length, null);
    }
    if (length > most) throw failure('EFBIG', `${path} has more than ${most} bytes`);
    return bytes.subarray(0, length);
  } finally {
    closeSync(file);
  }
}

function failure(code: string, message: string): Error {
  return Object.assign(new Error(`${code}: ${message}`), { code });
}

/** Kubernetes swaps a link beside the file, certbot the file, which is a link itself. */
function directoriesOf(paths: readonly string[]): string[] {
  return [...new Set(paths.flatMap((path) => [dirname(path), dirname(targetOf(path))]))];
}

/** Where links lead; of a file that is not there, itself. */
function targetOf(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}

function watcherOf(directory: string, changed: () => void, failed: (cause: Error) => void): FSWatcher | undefined {
  try {
    return watch(directory, { persistent: false }, changed).on('error', failed);
  } catch (cause) {
    failed(cause as Error);
    return undefined;
  }
}
