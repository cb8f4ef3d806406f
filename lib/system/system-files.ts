/** Files as the operating system has them. Directories are watched, as most tools replace files instead of writing them. */
import { readFileSync, realpathSync, renameSync, watch, writeFileSync, type FSWatcher } from 'node:fs';
import { dirname } from 'node:path';
import type { Files } from '../ports/files.js';

export const systemFiles: Files = {
  read: (path) => readFileSync(path),
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
