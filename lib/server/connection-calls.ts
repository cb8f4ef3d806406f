/** The calls that one connection runs: each keeps its place until its function ends, whoever still waits. */
import { CallTable } from '../connection/call-table.js';
import type { Journal } from '../connection/journal.js';
import type { GenRpcError } from '../protocol/errors.js';
import type { Concurrency } from './concurrency.js';
import type { RunningCall } from './running-call.js';

export interface ConnectionCallsPorts {
  readonly concurrency: Concurrency;
  readonly journal: Journal;
}

/** Looking through all calls of a connection that is full costs up to 0.5 ms: it is done at most so often. */
const LOOK_EVERY_MS = 20;

export class ConnectionCalls extends CallTable<RunningCall> {
  private gone = false;
  private nextLook = -Infinity;

  constructor(
    private readonly caller: string,
    private readonly ports: ConnectionCallsPorts,
  ) {
    super();
    ports.concurrency.join(this);
  }

  /** Those that nobody waits for any more. */
  get abandoned(): number {
    return this.size === 0 ? 0 : this.values().filter((call) => call.abandoned).length;
  }

  /** @param waitsForBegin a message whose caller waits until it has begun. */
  refuse(now: number, waitsForBegin: boolean): GenRpcError | undefined {
    const { concurrency } = this.ports;
    return waitsForBegin
      ? concurrency.refuseMessage(this.caller, now)
      : concurrency.refuse(this.caller, this.size, now);
  }

  /**
   * Of a connection that was refused `reason`: does it hold its places with calls that it does not wait for?
   * Counted when it is so.
   */
  flooded(reason: GenRpcError, now: number): boolean {
    const { limit } = reason.details as { limit: string };
    if (limit !== 'callsPerConnection' || now < this.nextLook) return false;
    this.nextLook = now + LOOK_EVERY_MS;
    const { abandoned, size } = this;
    if (abandoned * 2 <= size) return false;
    const message = `${this.caller} gave up ${abandoned} of ${size} calls, which still run: it is asked to go.`;
    this.ports.journal.note('cancel_flood', () => message);
    return true;
  }

  /** The connection has ended. What it started may still run, and counts until it ends. */
  leave(): void {
    this.gone = true;
    this.forget();
  }

  override add(call: RunningCall): void {
    super.add(call);
    this.ports.concurrency.started();
  }

  override delete(call: RunningCall): void {
    const { size } = this;
    super.delete(call);
    // What a function returns instead of a promise may end it twice.
    if (this.size === size) return;
    this.ports.concurrency.ended();
    if (this.gone) this.forget();
  }

  private forget(): void {
    if (this.size === 0) this.ports.concurrency.leave(this);
  }
}
