/** The casts that run: apart from the connection that brought them, because nobody there waits for them. */
import { Breather } from '../connection/breather.js';
import { CallTable } from '../connection/call-table.js';
import { Idle } from '../connection/idle.js';
import type { Journal } from '../connection/journal.js';
import { GenRpcError } from '../protocol/errors.js';
import { CastQueue, type CastQueueLimits } from './cast-queue.js';
import type { Invoker } from './invoker.js';
import type { Caller } from './module-registry.js';
import { RunningCall, type Answers, type CallPorts, type IncomingCall, type Receipt } from './running-call.js';
import { leaving } from './unanswered.js';

export interface CastPorts extends CallPorts {
  readonly invoker: Invoker;
  readonly journal: Journal;
  readonly limits: CastQueueLimits;
}

/** Whoever brought a cast, and wants to hear when what it takes is free again. */
export interface CastSource {
  castEnded(bytes: number): void;
}

/** A cast that has arrived. */
export interface IncomingCast {
  readonly what: IncomingCall;
  readonly caller: Caller;
  /** Size of the arguments while they wait to be read. */
  readonly bytes: number;
  /** `undefined`: nobody counts them. */
  readonly source?: CastSource | undefined;
  readonly readArgs: () => unknown;
  /** Told that it has begun, or why not. */
  readonly receipt?: Receipt | undefined;
  /** Told when it has ended, whatever came of it. */
  readonly onEnd?: () => void;
}

class RunningCast extends RunningCall {
  cast: IncomingCast | undefined;
  /** Nobody reads what it streams, so that no reader holds it up. */
  breather: Breather | undefined;
}

export class Casts implements Answers {
  private running = new CallTable<RunningCast>();
  private last = 0;
  private readonly queue: CastQueue<IncomingCast>;
  private emptying = false;
  private draining = false;
  private readonly whenIdle = new Idle();

  constructor(private readonly ports: CastPorts) {
    this.queue = new CastQueue(ports.limits);
  }

  /** Those that run, and those that wait for room. */
  get size(): number {
    return this.running.size + this.queue.size;
  }

  /** Must the next one wait? Then its bytes have to be its own. */
  get full(): boolean {
    return this.queue.isFull(this.running.size);
  }

  run(incoming: IncomingCast): void {
    if (!this.full) this.start(incoming);
    else if (!this.queue.add(incoming)) this.shed(incoming);
  }

  /** Resolves once none runs, nor one that was waiting for its turn. */
  async idle(): Promise<void> {
    while (this.size > 0) await this.whenIdle.next();
  }

  /** Tells those that run, and those that still come, that the node begins to drain. */
  drain(): void {
    this.draining = true;
    for (const cast of this.running.values()) cast.drain();
  }

  /** Tells those that run that the node ends, and waits for none of them any more. */
  abort(reason: GenRpcError): void {
    const casts = this.running.values();
    for (const cast of this.queue.clear()) {
      this.ports.journal.count('cast_failed');
      this.turnAway(cast, leaving());
    }
    this.running = new CallTable();
    for (const cast of casts) cast.abort(reason);
    this.whenIdle.tell();
  }

  /** It is not started: all who want to know are told so, but for its source. */
  turnAway({ what, caller, receipt }: IncomingCast, error: GenRpcError): void {
    this.ports.invoker.turnedAway(what, caller, 'cast', error);
    receipt?.refused(error);
  }

  item(cast: RunningCast): void {
    (cast.breather ??= new Breather(this.ports.clock)).passed();
  }

  isReady({ breather }: RunningCast): boolean {
    return breather === undefined || !breather.due;
  }

  whenReady({ breather }: RunningCast, then: () => void): void {
    if (breather === undefined) then();
    else breather.breathe(then);
  }

  headers(): void {}

  done(): void {}

  end(): void {}

  failed(cast: RunningCall, error: GenRpcError): void {
    this.ports.journal.count('cast_failed');
    cast.receipt?.refused(error);
  }

  /** Safe to repeat: what a function returns instead of a promise may call back twice. */
  ended(cast: RunningCast): void {
    const incoming = cast.cast;
    cast.cast = undefined;
    this.running.delete(cast);
    incoming?.source?.castEnded(incoming.bytes);
    incoming?.onEnd?.();
    if (this.queue.size > 0) this.startWaiting();
    if (this.size === 0) this.whenIdle.tell();
  }

  private start(incoming: IncomingCast): void {
    this.last = (this.last + 1) >>> 0;
    const cast = new RunningCast(this.last, incoming.what, incoming.caller, Infinity, this, this.ports);
    cast.receipt = incoming.receipt;
    cast.cast = incoming;
    if (this.draining) cast.drain();
    this.running.add(cast);
    this.ports.invoker.run(cast, incoming.readArgs);
  }

  /** In a loop: casts that end at once would nest without end. */
  private startWaiting(): void {
    if (this.emptying) return;
    this.emptying = true;
    const take = (): IncomingCast | undefined => this.queue.take(this.running.size);
    for (let next = take(); next !== undefined; next = take()) this.start(next);
    this.emptying = false;
  }

  private shed(cast: IncomingCast): void {
    const message = 'Too many casts run, and too many wait (concurrency.casts, maxQueuedCasts). It was not started.';
    this.ports.journal.note('cast_overload', () => `Dropped a cast of ${cast.caller.node}: ${message}`);
    this.turnAway(cast, new GenRpcError('refused', message));
    cast.source?.castEnded(cast.bytes);
    cast.onEnd?.();
  }
}
