/** A frame whose first bytes are here and whose last are not: memory by bytes received, never by bytes declared. */

const BLOCK_BYTES = 16 * 1024;

export class PartialFrame {
  private readonly blocks: Buffer[] = [];
  /** Arrivals are copied here, so that a frame sent a byte at a time costs its size, not a buffer a byte. */
  private last = NO_BYTES;
  private room = 0;
  private missing: number;

  constructor(needed: number) {
    this.missing = needed;
  }

  /** Is all here that is needed? */
  get isWhole(): boolean {
    return this.missing === 0;
  }

  /** Takes what it needs of `bytes` from `at` on. Returns where that ends. */
  add(bytes: Buffer, at: number): number {
    const end = Math.min(bytes.length, at + this.missing);
    this.missing -= end - at;
    for (let from = at; from < end;) {
      if (this.room === 0) this.addBlock();
      const copied = bytes.copy(this.last, BLOCK_BYTES - this.room, from, end);
      this.room -= copied;
      from += copied;
    }
    return end;
  }

  join(): Buffer {
    const blocks = [...this.blocks, this.last.subarray(0, this.last.length - this.room)];
    return blocks.length === 1 && blocks[0] !== undefined ? blocks[0] : Buffer.concat(blocks);
  }

  private addBlock(): void {
    if (this.last.length > 0) this.blocks.push(this.last);
    this.last = Buffer.allocUnsafeSlow(BLOCK_BYTES);
    this.room = BLOCK_BYTES;
  }
}

const NO_BYTES = Buffer.alloc(0);
