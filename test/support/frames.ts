/** Bytes, cut and read back. */
import { FrameDecoder } from '../../lib/protocol/frame-decoder.js';
import type { Frame } from '../../lib/protocol/frame.js';
import type { Payload } from '../../lib/protocol/payload.js';

/** The frames in a stream that arrives in these pieces. @throws GenRpcError as the decoder does. */
export function framesIn(...pieces: readonly Buffer[]): Frame[] {
  const frames: Frame[] = [];
  const decoder = new FrameDecoder(4 * 1024 * 1024);
  for (const piece of pieces) decoder.push(piece, (frame) => frames.push(frame));
  return frames;
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

/** Frames with their payloads as text, which compares a hundred times faster than a Buffer does. */
export function comparable(frames: readonly Frame[]): unknown[] {
  const textOf = ({ kind, bytes }: Payload): unknown => [kind, Buffer.from(bytes).toString('latin1')];
  return frames.map((frame) => {
    if ('payload' in frame) return { ...frame, payload: textOf(frame.payload) };
    return 'details' in frame ? { ...frame, details: textOf(frame.details) } : frame;
  });
}
