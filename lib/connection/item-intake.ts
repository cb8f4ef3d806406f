/** The receiving end of a stream: are all items here, in order, and not more of them than there was credit for? */
import { costOf } from './credit.js';
import type { Window } from './credit.js';
import { GenRpcError } from '../protocol/errors.js';
import type { EndFrame, ItemFrame } from '../protocol/frame.js';
import { violation } from '../protocol/violation.js';

export class ItemIntake {
  private sequence = 0;

  constructor(readonly window: Window) {}

  /** What the item costs until it is used. @throws GenRpcError `protocol_error`. */
  take(frame: ItemFrame): number {
    if (frame.sequence !== this.sequence) throw outOfStep(`item ${frame.sequence} came, not ${this.sequence}`);
    this.sequence = (this.sequence + 1) >>> 0;
    const cost = costOf(frame.payload.bytes.length);
    if (this.window.takeItem(cost)) return cost;
    throw violation('fc_violation', 'More items were sent than there was credit for.');
  }

  /** @throws GenRpcError `protocol_error`. */
  end({ count }: Pick<EndFrame, 'count'>): void {
    if (count !== this.sequence) throw outOfStep(`${count} items were sent, ${this.sequence} came`);
  }
}

function outOfStep(what: string): GenRpcError {
  return new GenRpcError('protocol_error', `Protocol error: of a stream, ${what}.`);
}
