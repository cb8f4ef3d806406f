/** The sending end of a stream of items: numbers them, and says when there is room for more. */
import { GenRpcError } from '../protocol/errors.js';
import { FrameType, type CallFrame, type ErrorFrame } from '../protocol/frame.js';
import type { Connection } from './connection.js';
import type { Outbox, Positioned } from './outbox.js';

export class ItemWriter {
  private readonly stream: Outbox;
  private count = 0;

  constructor(
    private readonly connection: Connection,
    private readonly id: number,
  ) {
    this.stream = connection.openStream(id);
  }

  /** Is there credit for an item, and does none wait? */
  get ready(): boolean {
    return this.stream.ready;
  }

  /** Runs `then` once that is so. One at a time. */
  whenReady(then: () => void): void {
    this.stream.onReady = then;
  }

  /** What begins the stream: its items must not overtake it. */
  begin(frame: CallFrame, mark: Positioned): void {
    try {
      this.connection.sendOn(this.stream, frame, mark);
    } catch (error) {
      this.connection.forget(this.id);
      throw error;
    }
  }

  /** @throws GenRpcError `encode_error`, `message_too_large`; `refused` when too much waits for a slow reader. */
  item(value: unknown): void {
    if (this.connection.isOverfull(this.stream)) {
      throw new GenRpcError('refused', 'The stream was stopped: too much of it waits for its reader.');
    }
    const payload = this.connection.encode(value);
    this.connection.sendOn(this.stream, { type: FrameType.Item, id: this.id, sequence: this.count, payload });
    this.count = (this.count + 1) >>> 0;
  }

  end(): void {
    this.connection.sendOn(this.stream, { type: FrameType.End, id: this.id, count: this.count });
  }

  fail(frame: ErrorFrame): void {
    this.connection.sendOn(this.stream, frame);
  }
}
