/** What all connections of a node hold for slow peers, and who goes when it is too much: whoever holds most. */
import { GenRpcError } from '../protocol/errors.js';

export interface Buffered {
  /** Bytes that wait to be sent, or for the rest of their message. */
  readonly bufferedBytes: number;
  abort(reason: GenRpcError): void;
}

export class Buffers {
  private readonly holders = new Set<Buffered>();

  /** @param maxBytes of all connections together */
  constructor(private readonly maxBytes: number) {}

  /** Bytes that wait now. */
  get bytes(): number {
    let bytes = 0;
    for (const holder of this.holders) bytes += this.bytesOf(holder);
    return bytes;
  }

  /** It holds something, or more than before. */
  note(holder: Buffered): void {
    this.holders.add(holder);
    for (let bytes = this.bytes; bytes > this.maxBytes; bytes = this.bytes) this.cutLargest(bytes);
  }

  forget(holder: Buffered): void {
    this.holders.delete(holder);
  }

  private bytesOf(holder: Buffered): number {
    const { bufferedBytes } = holder;
    if (bufferedBytes === 0) this.holders.delete(holder);
    return bufferedBytes;
  }

  private cutLargest(bytes: number): void {
    const [largest] = [...this.holders].sort((one, other) => other.bufferedBytes - one.bufferedBytes);
    if (largest === undefined) return;
    this.holders.delete(largest);
    const held = largest.bufferedBytes;
    const message = `${bytes} bytes wait for slow peers, ${this.maxBytes} are allowed; this one holds ${held}.`;
    largest.abort(new GenRpcError('send_timeout', message, { details: { buffered: bytes, limit: this.maxBytes } }));
  }
}
