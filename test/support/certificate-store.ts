/** Certificates of one node in a directory that exists in memory only, on a day that the test chooses. */
import {
  CertificateFiles,
  type CertificateEvents,
  type CertificateFilesParts,
} from '../../lib/certificates/certificate-files.js';
import { nameMismatch } from '../../lib/certificates/certificate-names.js';
import type { CredentialProblem } from '../../lib/certificates/credential-options.js';
import type { Files, Watch } from '../../lib/ports/files.js';
import type { ProcessSignals } from '../../lib/ports/process-signals.js';
import { VirtualClock } from '../../lib/testing/virtual-clock.js';

export const NODE = 'a@node-a.local';
export const DAY_MS = 86_400_000;

/** Files in memory. Nobody is told of a change before `changed`. */
class MemoryFiles implements Files {
  readonly all = new Map<string, string>();
  readonly watches = new Set<() => void>();
  /** What the next `watch` fails with. */
  failure: Error | undefined;
  reads = 0;

  read(path: string): Buffer {
    this.reads += 1;
    const text = this.all.get(path);
    if (text === undefined) throw Object.assign(new Error(`ENOENT: ${path}`), { code: 'ENOENT' });
    return Buffer.from(text);
  }

  replace(path: string, text: string): void {
    this.all.set(path, text);
  }

  watch(_: readonly string[], changed: () => void, failed: (cause: Error) => void): Watch {
    if (this.failure !== undefined) failed(this.failure);
    this.watches.add(changed);
    return { close: () => void this.watches.delete(changed) };
  }

  write(files: Readonly<Record<string, string | undefined>>): void {
    for (const [path, text] of Object.entries(files)) {
      if (text === undefined) this.all.delete(path);
      else this.all.set(path, text);
    }
  }

  changed(): void {
    for (const changed of this.watches) changed();
  }
}

/** A store, and whatever it said. */
export class StoreOnTest implements CertificateEvents {
  readonly clock = new VirtualClock();
  readonly files = new MemoryFiles();
  readonly said: { kind: keyof CertificateEvents; message: string }[] = [];
  readonly signals = new Map<string, () => void>();
  private readonly begun = Date.now();

  /** `undefined`: see `problems`. */
  store: CertificateFiles | undefined;
  problems: readonly CredentialProblem[] = [];

  readonly today = (): Date => new Date(this.begun + this.clock.now());

  open(options: CertificateFilesParts['options'], more: Partial<CertificateFilesParts> = {}): this {
    const found = CertificateFiles.load({
      ...{ node: NODE, options, roles: ['server', 'client'], expiryWarning: 30, reloadSignal: undefined },
      mismatch: (certificate) => nameMismatch(certificate, NODE, { allowWildcards: false, allowCommonName: false }),
      ...{ clock: this.clock, calendar: this.today, files: this.files, signals: this.processSignals(), events: this },
      ...more,
    });
    if (found instanceof CertificateFiles) this.store = found;
    else this.problems = found;
    return this;
  }

  /** The store that was opened. */
  get opened(): CertificateFiles {
    if (this.store === undefined) throw new Error(JSON.stringify(this.problems));
    return this.store;
  }

  /** What it said of a kind, or of all. */
  heard(kind?: keyof CertificateEvents): string[] {
    return this.said.filter((one) => kind === undefined || one.kind === kind).map(({ message }) => message);
  }

  renewed(message: string): void {
    this.said.push({ kind: 'renewed', message });
  }

  refused(message: string): void {
    this.said.push({ kind: 'refused', message });
  }

  expiring(message: string): void {
    this.said.push({ kind: 'expiring', message });
  }

  unwatched(message: string): void {
    this.said.push({ kind: 'unwatched', message });
  }

  private processSignals(): ProcessSignals {
    return {
      on: (signal, run) => {
        this.signals.set(signal, run);
        return { close: () => void this.signals.delete(signal) };
      },
    };
  }
}
