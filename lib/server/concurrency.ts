/** How much a node runs at once for others. What is above is refused: what was accepted must be answered in time. */
import type { Journal } from '../connection/journal.js';
import { GenRpcError } from '../protocol/errors.js';
import type { Clock } from '../ports/clock.js';
import { LoopDelay } from './loop-delay.js';

export interface ConcurrencyLimits {
  /** Running calls of one connection. */
  readonly callsPerConnection: number;
  /** Of all connections together. */
  readonly calls: number;
  /** Running casts; further ones wait. */
  readonly casts: number;
  /** ms that the event loop may be late before new calls are refused; `Infinity`: any. */
  readonly loopDelay: number;
}

export interface ConcurrencyPorts {
  readonly clock: Clock;
  readonly journal: Journal;
}

/** Running calls that nobody waits for any more, of one connection. */
export interface HasAbandoned {
  readonly abandoned: number;
}

type Limit = 'callsPerConnection' | 'calls' | 'loopDelay';

const WHAT_TO_DO = 'Nothing was started: call later, or call another node.';

export class Concurrency {
  private running = 0;
  private readonly loop: LoopDelay;
  private readonly connections = new Set<HasAbandoned>();
  /** The last one: thousands in a row are the same, and a new one costs more than to send it. */
  private refusal: { readonly limit: Limit; readonly running: number; readonly error: GenRpcError } | undefined;

  constructor(
    private readonly limits: ConcurrencyLimits,
    private readonly ports: ConcurrencyPorts,
  ) {
    this.loop = new LoopDelay(ports.clock, limits.loopDelay);
  }

  /** Calls that run though nobody waits for them any more, also those whose connection is gone. */
  get abandoned(): number {
    let abandoned = 0;
    for (const connection of this.connections) abandoned += connection.abandoned;
    return abandoned;
  }

  /** `connection` is asked for its abandoned calls until it is left. */
  join(connection: HasAbandoned): void {
    this.connections.add(connection);
  }

  /** Safe to repeat. */
  leave(connection: HasAbandoned): void {
    this.connections.delete(connection);
  }

  /** May `caller`, of whose connection `running` calls run, start another now? `undefined`: yes; else what to answer. */
  refuse(caller: string, running: number, now: number): GenRpcError | undefined {
    const late = this.loop.isLate(now);
    const { callsPerConnection, calls } = this.limits;
    if (running >= callsPerConnection) return this.refused('callsPerConnection', caller, running);
    if (this.running >= calls) return this.refused('calls', caller, this.running);
    return late ? this.refused('loopDelay', caller, this.running) : undefined;
  }

  /** The same for a message whose caller waits until it has begun: it takes none of the calls' places. */
  refuseMessage(caller: string, now: number): GenRpcError | undefined {
    return this.loop.isLate(now) ? this.refused('loopDelay', caller, this.running) : undefined;
  }

  started(): void {
    this.running += 1;
  }

  /** A function has ended: its place is free. */
  ended(): void {
    this.running -= 1;
  }

  /** Nothing ticks any more. Safe to repeat. */
  stop(): void {
    this.loop.stop();
  }

  private refused(limit: Limit, caller: string, running: number): GenRpcError {
    if (this.refusal?.limit !== limit || this.refusal.running !== running) {
      const error = new GenRpcError('refused', `${this.why(limit)} ${WHAT_TO_DO}`, { details: { limit, running } });
      this.refusal = { limit, running, error };
    }
    const { error } = this.refusal;
    this.ports.journal.note('call_overload', () => `Refused a call of ${caller}: ${error.message}`);
    return error;
  }

  private why(limit: Limit): string {
    const most = this.limits[limit];
    switch (limit) {
      case 'callsPerConnection':
        return `${most} calls of this connection run, and more must not (concurrency.callsPerConnection).`;
      case 'calls':
        return `${most} calls run on the node, and more must not (concurrency.calls).`;
      case 'loopDelay':
        return `The node is behind: its event loop was late by more than ${most} ms (concurrency.loopDelay).`;
    }
  }
}
