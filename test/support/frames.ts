/** Bytes, cut and read back. */
import { Assembler } from '../../lib/connection/assembler.js';
import { FrameDecoder } from '../../lib/protocol/frame-decoder.js';
import { FrameType, type ChunkFrame, type Frame } from '../../lib/protocol/frame.js';
import type { Payload } from '../../lib/protocol/payload.js';

/**
 * The frames in a stream that arrives in these pieces, as the decoder hands them out. As channels do, it gets all pieces
 * in the same memory. @throws GenRpcError as it does.
 */
export function framesIn(...pieces: readonly (Buffer | readonly Buffer[])[]): Frame[] {
  const frames: Frame[] = [];
  const decoder = new FrameDecoder(4 * 1024 * 1024);
  const all = pieces.flat();
  // Not spread: there may be more pieces than a call takes arguments.
  const memory = Buffer.alloc(all.reduce((most, { length }) => Math.max(most, length), 0));
  for (const piece of all) {
    memory.set(piece);
    decoder.push(memory.subarray(0, piece.length), (frame) => {
      frames.push(frame.type === FrameType.Chunk ? { ...frame, bytes: Buffer.from(frame.bytes) } : frame);
    });
    memory.fill(0xee);
  }
  return frames;
}

/** As `framesIn`, with every message that came in chunks put together. */
export function messagesIn(...pieces: readonly (Buffer | readonly Buffer[])[]): Frame[] {
  const { take, messages } = new Messages();
  for (const frame of framesIn(...pieces)) take(frame);
  return messages;
}

/** Puts messages together; a chunk of none stays what it is. */
export class Messages {
  readonly messages: Frame[] = [];
  private readonly halves = new Assembler();
  readonly take = (frame: Frame): void => {
    if (frame.type !== FrameType.Chunk) this.halves.expectNone(frame);
    if ('payload' in frame && frame.total !== undefined) return this.halves.begin(frame, frame.total);
    const whole = frame.type === FrameType.Chunk && this.halves.has(frame.id) ? this.halves.add(frame) : frame;
    if (whole !== undefined) this.messages.push(whole);
  };
}

/** Chunks as they were written, of whatever pieces of them were handed out. */
export function withWholeChunks(frames: readonly Frame[]): Frame[] {
  const whole: Frame[] = [];
  for (const frame of frames) {
    const last = whole.at(-1);
    if (frame.type === FrameType.Chunk && last?.type === FrameType.Chunk && last.more && last.id === frame.id) {
      whole.splice(-1, 1, joined(last, frame));
    } else {
      whole.push(frame);
    }
  }
  return whole;
}

function joined(first: ChunkFrame, second: ChunkFrame): ChunkFrame {
  return { ...second, bytes: Buffer.concat([first.bytes, second.bytes]) };
}

/** `bytes` in pieces of these sizes, the last size again and again until nothing is left. */
export function slicesOf(bytes: Buffer, ...sizes: readonly number[]): Buffer[] {
  const pieces: Buffer[] = [];
  for (let at = 0, next = 0; at < bytes.length; next += 1) {
    const size = sizes[Math.min(next, sizes.length - 1)] ?? bytes.length;
    pieces.push(bytes.subarray(at, at + size));
    at += size;
  }
  return pieces;
}

/** Frames with their bytes as text, which compares a hundred times faster than a Buffer does. */
export function comparable(frames: readonly Frame[]): unknown[] {
  const textOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString('latin1');
  const payloadOf = ({ kind, bytes }: Payload): unknown => [kind, textOf(bytes)];
  return frames.map((frame) => {
    if ('payload' in frame) return { ...frame, payload: payloadOf(frame.payload) };
    return frame.type === FrameType.Chunk ? { ...frame, bytes: textOf(frame.bytes) } : frame;
  });
}
