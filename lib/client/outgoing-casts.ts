/** The casts of one connection: they leave as far as there is credit, in order, and a loss is counted. */
import type { Connection } from '../connection/connection.js';
import type { Outbox } from '../connection/outbox.js';
import { GenRpcError } from '../protocol/errors.js';
import { CAST_STREAM, type CastFrame } from '../protocol/frame.js';
import { UnsentCasts } from './unsent-casts.js';

export class OutgoingCasts {
  private readonly stream: Outbox;
  private readonly unsent: UnsentCasts;

  /** Does any wait to leave? */
  waiting = false;

  /**
   * @param maxQueued most casts that wait for credit
   * @param onWaiting some wait, or none do any more
   */
  constructor(
    private readonly connection: Connection,
    private readonly maxQueued: number,
    private readonly onWaiting: () => void,
  ) {
    this.stream = connection.openStream(CAST_STREAM);
    this.unsent = new UnsentCasts((position) => connection.hasWritten(position));
  }

  /** Those that have not left: asked when the connection has ended. */
  get lost(): number {
    const { queue } = this.stream;
    const isHalf = (queue.first?.written ?? -1) >= 0;
    // One that is half sent is the last that began: lost, whether its first byte has left or not.
    return this.unsent.count + queue.length - (isHalf && !this.unsent.latestHasLeft ? 1 : 0);
  }

  /** @throws GenRpcError `refused` when too many wait. */
  checkRoom(): void {
    const { length } = this.stream.queue;
    if (length < this.maxQueued) return;
    const { node } = this.connection.peer;
    throw new GenRpcError('refused', `${length} casts wait already until ${node} has run those before them.`);
  }

  send(frame: CastFrame): void {
    const { stream } = this;
    this.connection.sendOn(stream, frame, this.unsent);
    if (this.waiting || stream.queue.length === 0) return;
    stream.onReady = () => this.setWaiting(false);
    this.setWaiting(true);
  }

  private setWaiting(waiting: boolean): void {
    this.waiting = waiting;
    this.onWaiting();
  }
}
