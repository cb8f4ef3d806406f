/** How many strangers may stand at the door, and who is sent away unheard. */
import type { Clock } from '../ports/clock.js';

export interface AdmissionLimits {
  /** Unauthenticated connections at a time. Default 512. */
  readonly total: number;
  /** Of one address. Default 32. */
  readonly perAddress: number;
  /** Failed proofs of one address within a minute, after which it is sent away unheard. Default 10. */
  readonly failuresPerMinute: number;
}

const WINDOW_MS = 60_000;
/** Addresses remembered for their failures; the oldest is forgotten first. */
const MAX_REMEMBERED = 10_000;

export class Admission {
  private total = 0;
  private readonly waiting = new Map<string, number>();
  private readonly failures = new Map<string, { since: number; count: number }>();

  constructor(
    private readonly limits: AdmissionLimits,
    private readonly clock: Clock,
  ) {}

  /** Connections that are not authenticated yet. */
  get pending(): number {
    return this.total;
  }

  /** Takes a place at the door, or says why there is none. Whoever got one calls `leave`. */
  enter(address: string): 'full' | 'throttled' | undefined {
    const ofAddress = this.waiting.get(address) ?? 0;
    if (this.total >= this.limits.total || ofAddress >= this.limits.perAddress) return 'full';
    if (this.isThrottled(address)) return 'throttled';
    this.total += 1;
    this.waiting.set(address, ofAddress + 1);
    return undefined;
  }

  leave(address: string): void {
    this.total -= 1;
    const ofAddress = (this.waiting.get(address) ?? 1) - 1;
    if (ofAddress === 0) this.waiting.delete(address);
    else this.waiting.set(address, ofAddress);
  }

  /** A proof of this address failed. */
  failed(address: string): void {
    const now = this.clock.now();
    const known = this.failures.get(address);
    if (known !== undefined && now - known.since < WINDOW_MS) {
      known.count += 1;
      return;
    }
    this.failures.delete(address);
    this.failures.set(address, { since: now, count: 1 });
    const [oldest] = this.failures.keys();
    if (this.failures.size > MAX_REMEMBERED && oldest !== undefined) this.failures.delete(oldest);
  }

  private isThrottled(address: string): boolean {
    const known = this.failures.get(address);
    if (known === undefined || known.count < this.limits.failuresPerMinute) return false;
    if (this.clock.now() - known.since < WINDOW_MS) return true;
    this.failures.delete(address);
    return false;
  }
}
