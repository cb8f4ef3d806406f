/** Items that wait, as the bytes that they will be: a hundred thousand small ones are too many objects. */
import type { ByteSink } from '../protocol/frame-encoder.js';
import { readU32, SEQUENCE_BYTES } from '../protocol/frame-shapes.js';
import { HEADER_BYTES, type ItemFrame } from '../protocol/frame.js';
import { costOf } from './credit.js';

/** Larger payloads wait for themselves: a frame writer does not copy those either. */
export const MAX_RUN_PAYLOAD_BYTES = 4096;
const MAX_RUN_BYTES = 16 * 1024;
const MIN_RUN_BYTES = 512;

export class ItemRun implements ByteSink {
  readonly buffer: Buffer;
  /** None of them is half sent. */
  readonly written = -1;
  private start = 0;
  private end = 0;

  /** @param bytes as large as it had better be */
  constructor(first: ItemFrame, bytes: number) {
    this.buffer = Buffer.allocUnsafeSlow(Math.max(lengthOf(first), MIN_RUN_BYTES, Math.min(bytes, MAX_RUN_BYTES)));
  }

  get isEmpty(): boolean {
    return this.start === this.end;
  }

  hasRoomFor(frame: ItemFrame): boolean {
    return this.end + lengthOf(frame) <= this.buffer.length;
  }

  reserve(length: number): number {
    const at = this.end;
    this.end += length;
    return at;
  }

  append(bytes: Uint8Array): void {
    this.buffer.set(bytes, this.reserve(bytes.length));
  }

  /** The next of them as bytes, as many as `mayLeave` lets, by what each takes of credit. */
  take(mayLeave: (cost: number) => boolean): { readonly bytes: Buffer; readonly frames: number } {
    const from = this.start;
    let frames = 0;
    while (!this.isEmpty) {
      const length = readU32(this.buffer, this.start);
      if (!mayLeave(costOf(length - SEQUENCE_BYTES))) break;
      this.start += HEADER_BYTES + length;
      frames += 1;
    }
    return { bytes: this.buffer.subarray(from, this.start), frames };
  }
}

function lengthOf({ payload }: ItemFrame): number {
  return HEADER_BYTES + SEQUENCE_BYTES + payload.bytes.length;
}
