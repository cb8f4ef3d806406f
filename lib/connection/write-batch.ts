/** Gathers the frames of a turn, so that they leave in one write. */
import type { ByteSink } from '../protocol/frame-encoder.js';

const SLAB_BYTES = 16 * 1024;

/**
 * Fills slab after slab. What was taken out is never written to again, so that a channel may keep it for as long as it
 * needs; a slab is dropped once it is full.
 */
export class WriteBatch implements ByteSink {
  buffer = Buffer.allocUnsafeSlow(SLAB_BYTES);
  /** Frames and bytes gathered since the last `take`. */
  frames = 0;
  bytes = 0;
  private start = 0;
  private end = 0;
  private chunks: Uint8Array[] = [];

  reserve(length: number): number {
    if (this.end + length > this.buffer.length) {
      this.seal();
      this.buffer = Buffer.allocUnsafeSlow(Math.max(SLAB_BYTES, length));
      this.start = 0;
      this.end = 0;
    }
    const at = this.end;
    this.end += length;
    this.bytes += length;
    this.frames += 1;
    return at;
  }

  append(bytes: Uint8Array): void {
    this.seal();
    this.chunks.push(bytes);
    this.bytes += bytes.length;
  }

  take(): readonly Uint8Array[] {
    this.seal();
    const { chunks } = this;
    this.chunks = [];
    this.frames = 0;
    this.bytes = 0;
    return chunks;
  }

  private seal(): void {
    if (this.end > this.start) this.chunks.push(this.buffer.subarray(this.start, this.end));
    this.start = this.end;
  }
}
