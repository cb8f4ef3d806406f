/** Those who need a connection that is not there yet, in the order they came. */
import type { GenRpcError } from '../protocol/errors.js';
import type { Session } from './session.js';

/** Whoever needs the connection: told once, `ready` or `fail`. */
export interface Waiter {
  /** Gave up meanwhile. */
  readonly settled: boolean;
  ready(session: Session, now: number): void;
  /** An attempt failed, but it goes on waiting. */
  waitOn?(failure: GenRpcError): void;
  fail(error: GenRpcError): void;
}

export interface Queued {
  readonly waiter: Waiter;
  /** Waits across failed attempts too. */
  readonly waitForReady: boolean;
}

export class WaitingLine {
  private queue: Queued[] = [];

  get length(): number {
    return this.queue.length;
  }

  /** Those who have not given up. */
  get pending(): number {
    return this.queue.filter(({ waiter }) => !waiter.settled).length;
  }

  add(waiter: Waiter, waitForReady: boolean): void {
    this.queue.push({ waiter, waitForReady });
  }

  /** Takes everyone out. */
  take(): readonly Queued[] {
    const { queue } = this;
    this.queue = [];
    return queue;
  }

  /** An attempt failed: tells those who do not wait for the next; `everyone`: there will be none. */
  fail(error: GenRpcError, everyone: boolean): void {
    const stays = ({ waiter, waitForReady }: Queued): boolean => !everyone && waitForReady && !waiter.settled;
    const queue = this.take();
    this.queue = queue.filter(stays);
    for (const queued of queue) {
      if (stays(queued)) queued.waiter.waitOn?.(error);
      else queued.waiter.fail(error);
    }
  }
}
