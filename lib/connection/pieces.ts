/** Bytes that come a piece at a time: memory by what has come, also where a piece is a byte. */

/** A buffer costs as much beside its bytes: smaller pieces are gathered in one. */
const SMALL_BYTES = 1024;
const LEAST_TAIL_BYTES = 64;
const MOST_TAIL_BYTES = 16 * 1024;

export class Pieces {
  length = 0;
  private readonly pieces: Buffer[] = [];
  private tail: Buffer | undefined;
  private tailLength = 0;

  add(bytes: Buffer): void {
    this.length += bytes.length;
    if (bytes.length < SMALL_BYTES) return this.gather(bytes);
    this.seal();
    this.pieces.push(bytes);
  }

  /** All of them, in memory of their own. */
  join(): Buffer {
    this.seal();
    return Buffer.concat(this.pieces, this.length);
  }

  private gather(bytes: Buffer): void {
    const length = this.tailLength + bytes.length;
    if (length > MOST_TAIL_BYTES) {
      this.seal();
      return this.gather(bytes);
    }
    if (this.tail === undefined || this.tail.length < length) this.growTo(length);
    this.tail?.set(bytes, this.tailLength);
    this.tailLength = length;
  }

  private growTo(length: number): void {
    const { tail } = this;
    this.tail = Buffer.allocUnsafeSlow(Math.min(MOST_TAIL_BYTES, Math.max(LEAST_TAIL_BYTES, 2 * length)));
    if (tail !== undefined) this.tail.set(tail.subarray(0, this.tailLength));
  }

  private seal(): void {
    if (this.tail !== undefined) this.pieces.push(this.tail.subarray(0, this.tailLength));
    this.tail = undefined;
    this.tailLength = 0;
  }
}
