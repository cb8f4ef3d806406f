/** What all connections of a node hold for slow peers, and who goes when it is too much: whoever holds most. */
import { GenRpcError } from '../protocol/errors.js';

export interface Buffered {
  /** Bytes that wait to be sent, or for the rest of their message. */
  readonly bufferedBytes: number;
  abort(reason: GenRpcError): void;
}

export class Buffers {
  /** What each of them held when it was last looked at. */
  private readonly holders = new Map<Buffered, number>();
  /** Of all of them: what is really there may be less, hardly more. */
  private noted = 0;

  /** @param maxBytes of all connections together */
  constructor(private readonly maxBytes: number) {}

  /** Bytes that wait now. */
  get bytes(): number {
    for (const holder of this.holders.keys()) this.look(holder);
    return this.noted;
  }

  /** It holds something, or more than before. Looks at the others only when it seems to be too much. */
  note(holder: Buffered): void {
    this.look(holder);
    if (this.noted <= this.maxBytes) return;
    for (let bytes = this.bytes; bytes > this.maxBytes; bytes = this.bytes) this.cutLargest(bytes);
  }

  forget(holder: Buffered): void {
    this.noted -= this.holders.get(holder) ?? 0;
    this.holders.delete(holder);
  }

  private look(holder: Buffered): void {
    const { bufferedBytes } = holder;
    this.noted += bufferedBytes - (this.holders.get(holder) ?? 0);
    if (bufferedBytes === 0) this.holders.delete(holder);
    else this.holders.set(holder, bufferedBytes);
  }

  private cutLargest(bytes: number): void {
    const [first] = [...this.holders].sort(([, one], [, other]) => other - one);
    if (first === undefined) return;
    const [largest, held] = first;
    this.forget(largest);
    const message = `${bytes} bytes wait for slow peers, ${this.maxBytes} are allowed; this one holds ${held}.`;
    largest.abort(new GenRpcError('send_timeout', message, { details: { buffered: bytes, limit: this.maxBytes } }));
  }
}
