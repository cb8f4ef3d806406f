/** What a node knew of the others when it last ran, in a file: of use while its source cannot be reached at the start. */
import type { Clock, Timer } from '../ports/clock.js';
import type { Files } from '../ports/files.js';
import type { NodeRecord } from './discovery.js';

export interface MembershipCacheParts {
  readonly path: string;
  readonly clock: Clock;
  readonly files: Files;
  /** It could not be read, or not written. That there is none yet is no failure. */
  readonly failed: (doing: string, cause: Error) => void;
}

/** What changes together is written together. */
const WRITE_AFTER_MS = 1000;

export class MembershipCache {
  private timer: Timer | undefined;

  constructor(private readonly parts: MembershipCacheParts) {}

  /** As they were written: nothing of it is to be trusted. Empty where there is no file that can be read. */
  read(): readonly unknown[] {
    const { path, files, failed } = this.parts;
    try {
      const records: unknown = JSON.parse(files.read(path).toString('utf8'));
      if (!Array.isArray(records)) throw new Error('it is no list of nodes');
      return records;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') failed('read', error as Error);
      return [];
    }
  }

  /** Writes what `records` gives a second from now. */
  write(records: () => readonly NodeRecord[]): void {
    this.timer ??= this.parts.clock.after(WRITE_AFTER_MS, () => {
      this.timer = undefined;
      this.writeNow(records());
    });
  }

  /** What still waits is not written. */
  close(): void {
    this.timer?.cancel();
    this.timer = undefined;
  }

  private writeNow(records: readonly NodeRecord[]): void {
    const { path, files, failed } = this.parts;
    try {
      files.replace(path, `${JSON.stringify(records, undefined, 2)}\n`);
    } catch (error) {
      failed('write', error as Error);
    }
  }
}
