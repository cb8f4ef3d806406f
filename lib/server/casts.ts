/** The casts that run: apart from the connection that brought them, because nobody there waits for them. */
import { CallTable } from '../connection/call-table.js';
import type { Journal } from '../connection/journal.js';
import type { GenRpcError } from '../protocol/errors.js';
import type { CastFrame } from '../protocol/frame.js';
import type { Invoker } from './invoker.js';
import { RunningCall, type Answers, type Caller, type CallPorts } from './running-call.js';

export interface CastPorts extends CallPorts {
  readonly invoker: Invoker;
  readonly journal: Journal;
}

export class Casts implements Answers {
  private running = new CallTable<RunningCall>();
  private last = 0;
  private onIdle: (() => void) | undefined;

  constructor(private readonly ports: CastPorts) {}

  get size(): number {
    return this.running.size;
  }

  run(frame: CastFrame, caller: Caller, readArgs: () => unknown): void {
    this.last = (this.last + 1) >>> 0;
    const cast = new RunningCall(this.last, frame, caller, Infinity, this, this.ports);
    this.running.add(cast);
    this.ports.invoker.run(cast, readArgs);
  }

  /** Resolves once none runs. */
  async idle(): Promise<void> {
    if (this.size > 0) await new Promise<void>((resolve) => (this.onIdle = resolve));
  }

  /** Tells those that run that the node ends, and waits for none of them any more. */
  abort(reason: GenRpcError): void {
    const casts = this.running.values();
    this.running = new CallTable();
    for (const cast of casts) cast.abort(reason);
    this.onIdle?.();
  }

  item(): void {}

  done(): void {}

  failed(): void {
    this.ports.journal.count('cast_failed');
  }

  ended(cast: RunningCall): void {
    this.running.delete(cast);
    if (this.size === 0) this.onIdle?.();
  }
}
