/** An argument that is a stream: its items, from the frames that bring them to the function that reads them. */
import { ItemIntake } from '../connection/item-intake.js';
import { ItemQueue } from '../connection/item-queue.js';
import type { Connection } from '../connection/connection.js';
import { FrameType, type EndFrame, type ItemFrame } from '../protocol/frame.js';

export class RequestStream {
  /** What the function gets. */
  readonly queue: ItemQueue;
  private readonly intake: ItemIntake;
  /** Does anybody read it? */
  isOpen = true;

  /** @param onThrow who reads it threw at what it was told */
  constructor(
    private readonly connection: Connection,
    private readonly id: number,
    onThrow: (error: unknown) => void,
  ) {
    this.intake = new ItemIntake(connection.newWindow());
    this.queue = new ItemQueue({
      used: (cost) => {
        if (this.isOpen) connection.free(id, this.intake.window, cost);
      },
      left: () => this.leave(),
      threw: onThrow,
    });
  }

  /** @throws GenRpcError for an item that is out of step, or cannot be read. */
  item(frame: ItemFrame): void {
    const cost = this.intake.take(frame);
    this.queue.push(this.connection.decode(frame.payload), cost);
  }

  /** @throws GenRpcError `protocol_error` when items are missing. */
  end(frame: EndFrame): void {
    this.intake.end(frame);
    this.queue.end();
  }

  /** Nobody sends or reads any more. Whoever still reads is told `reason`. */
  stop(reason: unknown): void {
    this.isOpen = false;
    this.connection.ignore(this.id);
    this.queue.fail(reason);
  }

  /** The function reads no further: the caller may stop. */
  private leave(): void {
    if (!this.isOpen) return;
    this.isOpen = false;
    this.connection.ignore(this.id);
    this.connection.send({ type: FrameType.Cancel, id: this.id });
  }
}

/** The stream among the arguments is the last of them, or with `single` the only one. */
export function withStream(args: unknown, single: boolean, stream: ItemQueue): unknown {
  return single ? stream : [...(Array.isArray(args) ? (args as unknown[]) : []), stream];
}
