/** Keeps what a node proves itself with: read from files, judged, and replaced while the node runs. */
import { createHash } from 'node:crypto';
import type { Clock, Timer } from '../ports/clock.js';
import type { Files, Watch } from '../ports/files.js';
import type { ProcessSignals } from '../ports/process-signals.js';
import { draftOf, lineOf, type CertificateDraft, type DraftParts } from './certificate-draft.js';
import { DAY_MS, daysLeft, warningsOf } from './certificate-expiry.js';
import { filesOf, type CredentialProblem } from './credential-options.js';
import type { Credentials, TlsMaterial, TlsRole } from './credentials.js';

/** Told to whoever looks after the node. */
export interface CertificateEvents {
  /** New ones are in use, for connections from now on. */
  renewed(message: string): void;
  /** What is in the files cannot be used; what was in use still is. */
  refused(message: string): void;
  /** A certificate ends soon, or has ended, or a list of revoked ones has. */
  expiring(message: string): void;
  /** Files are not watched, only looked at. */
  unwatched(message: string, cause: Error): void;
}

export interface CertificateFilesParts extends DraftParts {
  /** Days before the end from which on it is told. */
  readonly expiryWarning: number;
  readonly reloadSignal: NodeJS.Signals | undefined;
  readonly clock: Clock;
  readonly signals: ProcessSignals;
  readonly events: CertificateEvents;
}

/** Certificate and key are replaced one after the other, and the first write is told at once. */
const SETTLE_MS = 500;
/** Network file systems tell nobody that a file has changed. */
const LOOK_EVERY_MS = 60_000;
const JUDGE_EVERY_MS = 3_600_000;

export class CertificateFiles implements Credentials {
  private readonly paths: readonly string[];
  /** Of the files: as they are in use, and as they were looked at last, good or not. */
  private used: string;
  private seen: string;
  private watching: Watch | undefined;
  private signal: Watch | undefined;
  /** What was last refused, until something else is taken. */
  private refusal: string | undefined;
  private isUnwatched = false;
  // They hold keys: nothing that is printed has them.
  readonly #parts: CertificateFilesParts;
  #inUse: CertificateDraft;
  private settling: Timer | undefined;
  private ticking: Timer | undefined;
  private judgedAt = -Infinity;
  private warnedAt = -Infinity;

  private constructor(parts: CertificateFilesParts, first: CertificateDraft, fingerprint: string) {
    this.#parts = parts;
    this.#inUse = first;
    this.paths = filesOf(parts.options);
    this.used = this.seen = fingerprint;
  }

  /** What is in the options now, or all that is wrong with it. Nothing is watched before `start`. */
  static load(parts: CertificateFilesParts): CertificateFiles | readonly CredentialProblem[] {
    const fingerprint = fingerprintOf(filesOf(parts.options), parts.files);
    const first = draftOf(parts);
    return first.problems.length > 0 ? first.problems : new CertificateFiles(parts, first, fingerprint);
  }

  material(role: TlsRole): TlsMaterial {
    const found = this.#inUse.materials.get(role);
    if (found === undefined) throw new TypeError(`This node has no certificate as a ${role}.`);
    return found;
  }

  /** Whole days that the node's certificate is good for, and whoever vouches for it; below 0 when it no longer is. */
  get daysLeft(): number {
    return daysLeft(this.#inUse, this.#parts.calendar());
  }

  /** Watches from now on, until `close`. Keeps no process alive. */
  start(): void {
    const { reloadSignal, signals } = this.#parts;
    this.close();
    if (reloadSignal !== undefined) this.signal = signals.on(reloadSignal, () => void this.reload());
    if (this.paths.length > 0) this.look();
    this.tick();
  }

  /** Safe to repeat. What is in use stays so. */
  close(): void {
    this.signal?.close();
    this.watching?.close();
    this.settling?.cancel();
    this.settling = undefined;
    this.ticking?.cancel();
  }

  /** Reads everything again. What is wrong with it, which then is not used: what was in use stays so, and it is told. */
  reload(): readonly CredentialProblem[] {
    const fingerprint = this.fingerprint();
    return this.take(draftOf(this.#parts), fingerprint);
  }

  private take(draft: CertificateDraft, fingerprint: string): readonly CredentialProblem[] {
    const { events, node } = this.#parts;
    this.seen = fingerprint;
    this.refusal = undefined;
    if (draft.problems.length > 0) {
      const why = draft.problems.map(lineOf).join('; ');
      this.refusal = `New certificates of ${node} cannot be used, those before still are: ${why}.`;
      events.refused(this.refusal);
    } else if (fingerprint !== this.used) {
      this.used = fingerprint;
      this.#inUse = draft;
      events.renewed(`New certificates of ${node} are in use, good for ${this.daysLeft} days.`);
      this.warn();
    }
    return draft.problems;
  }

  /** Is in the files what was there before? What cannot be used may still be being written: it is looked at once more. */
  private look(again?: 'settled'): void {
    this.watch();
    const fingerprint = this.fingerprint();
    const isOld = fingerprint === this.seen;
    // What was refused for its dates may be good by now.
    if (isOld && (this.refusal === undefined || this.#parts.clock.now() - this.judgedAt < JUDGE_EVERY_MS)) return;
    this.judgedAt = this.#parts.clock.now();
    const draft = draftOf(this.#parts);
    const isGood = draft.problems.length === 0;
    if (isOld && !isGood) return;
    if (isGood || again !== undefined) this.take(draft, fingerprint);
    else this.settle('settled');
  }

  private fingerprint(): string {
    return fingerprintOf(this.paths, this.#parts.files);
  }

  private settle(again?: 'settled'): void {
    this.settling?.cancel();
    this.settling = this.#parts.clock.after(SETTLE_MS, () => {
      this.settling = undefined;
      this.look(again);
    });
  }

  /** Anew each time: links may lead elsewhere by now, and a directory may be another of the same name. */
  private watch(): void {
    const before = this.watching;
    let failure: Error | undefined;
    this.watching = this.#parts.files.watch(
      this.paths,
      () => (this.settling === undefined ? this.settle() : undefined),
      (cause) => (failure = cause),
    );
    before?.close();
    if (failure !== undefined && !this.isUnwatched) {
      this.#parts.events.unwatched('Certificate files cannot be watched: they are looked at every minute.', failure);
    }
    this.isUnwatched = failure !== undefined;
  }

  private tick(): void {
    const { clock } = this.#parts;
    if (clock.now() - this.warnedAt >= DAY_MS) {
      this.warn();
      if (this.refusal !== undefined) this.#parts.events.refused(this.refusal);
    }
    this.ticking = clock.after(LOOK_EVERY_MS, () => {
      if (this.paths.length > 0) this.look();
      this.tick();
    });
  }

  private warn(): void {
    const { clock, calendar, events, expiryWarning, node } = this.#parts;
    this.warnedAt = clock.now();
    const warnings = warningsOf(this.#inUse, calendar(), expiryWarning);
    if (warnings.length > 0) events.expiring(`Certificates of ${node}: ${warnings.join('; ')}.`);
  }
}

/** Of what the files hold: reading is cheap, judging is not, and done only when there is something new. */
function fingerprintOf(paths: readonly string[], files: Files): string {
  const hash = createHash('sha256');
  for (const path of paths) {
    try {
      hash.update(files.read(path));
    } catch (cause) {
      hash.update(String((cause as NodeJS.ErrnoException).code));
    }
    // So that bytes which move from one file to the next are a change.
    hash.update(`\0${path}\0`);
  }
  return hash.digest('base64');
}
