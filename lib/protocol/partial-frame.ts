/** A frame whose first bytes are here and whose last are not: memory by bytes received, never by bytes declared. */

const TAIL_BYTES = 16 * 1024;

export class PartialFrame {
  private readonly chunks: Buffer[] = [];
  /** Small arrivals are gathered here, so that a frame sent a byte at a time costs its size, not a buffer a byte. */
  private tail: Buffer | undefined;
  private tailLength = 0;
  private received = 0;

  constructor(private readonly needed: number) {}

  /** Returns whether all that is needed is here. */
  add(bytes: Buffer): boolean {
    this.received += bytes.length;
    if (bytes.length >= TAIL_BYTES) {
      this.sealTail();
      this.chunks.push(bytes);
    } else {
      this.gather(bytes);
    }
    return this.received >= this.needed;
  }

  join(): Buffer {
    this.sealTail();
    return this.chunks.length === 1 && this.chunks[0] !== undefined ? this.chunks[0] : Buffer.concat(this.chunks);
  }

  private gather(bytes: Buffer): void {
    if (this.tail === undefined || this.tailLength + bytes.length > TAIL_BYTES) this.sealTail();
    this.tail ??= Buffer.allocUnsafeSlow(TAIL_BYTES);
    this.tail.set(bytes, this.tailLength);
    this.tailLength += bytes.length;
  }

  private sealTail(): void {
    if (this.tail !== undefined) this.chunks.push(this.tail.subarray(0, this.tailLength));
    this.tail = undefined;
    this.tailLength = 0;
  }
}
