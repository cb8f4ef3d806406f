/** Messages of which only a part is here: memory by what has arrived, never by what was announced. */
import {
  CAST_STREAM,
  FrameType,
  MAX_INTERLEAVED,
  type ChunkFrame,
  type EndFrame,
  type Frame,
  type PayloadFrame,
} from '../protocol/frame.js';
import { corrupt } from '../protocol/violation.js';

interface Half {
  readonly frame: PayloadFrame;
  readonly total: number;
  buffer: Buffer;
  received: number;
}

/** Room for a message at the start, and how often what has arrived it may be. */
const FIRST_ROOM = 16 * 1024;
const GROWTH = 16;

export class Assembler {
  private readonly halves = new Map<number, Half>();
  /** Bytes that wait for the rest of their message. */
  bytes = 0;

  get size(): number {
    return this.halves.size;
  }

  /**
   * A frame that is no chunk has come: a stream carries one message at a time. An error ends what is half here.
   * @throws GenRpcError `protocol_error`.
   */
  expectNone(frame: Frame): void {
    if (!('payload' in frame) && frame.type !== FrameType.End) return;
    const id = streamOf(frame);
    if (!this.halves.has(id)) return;
    if (frame.type !== FrameType.Error) throw corrupt(`stream ${id} goes on before its last message has ended`);
    this.drop(id);
  }

  /** @throws GenRpcError `protocol_error`: a connection carries so many at a time. */
  begin(frame: PayloadFrame, total: number): void {
    if (this.halves.size >= MAX_INTERLEAVED) throw corrupt(`more than ${MAX_INTERLEAVED} messages are interleaved`);
    this.halves.set(streamOf(frame), { frame, total, buffer: NO_BYTES, received: 0 });
  }

  /** Is the last message of this stream half here? */
  has(id: number): boolean {
    return this.halves.has(id);
  }

  /**
   * The whole message, once this was its last chunk.
   * @throws GenRpcError `protocol_error` for more or fewer bytes than were announced.
   */
  add({ id, bytes, more }: ChunkFrame): PayloadFrame | undefined {
    const half = this.halves.get(id);
    if (half === undefined) return undefined;
    const received = half.received + bytes.length;
    if (received > half.total || more === (received === half.total)) {
      throw corrupt(`a message of ${half.total} bytes ${more ? 'goes on' : 'ends'} after ${received}`);
    }
    if (received > half.buffer.length) half.buffer = grown(half, received);
    half.buffer.set(bytes, half.received);
    half.received = received;
    this.bytes += bytes.length;
    if (more) return undefined;
    this.drop(id);
    const { frame, buffer, total } = half;
    return { ...frame, payload: { ...frame.payload, bytes: buffer.subarray(0, total), owned: true }, total: undefined };
  }

  /** Nobody waits for this message any more. Safe to repeat. */
  drop(id: number): void {
    const half = this.halves.get(id);
    if (half === undefined) return;
    this.bytes -= half.received;
    this.halves.delete(id);
  }

  clear(): void {
    this.halves.clear();
    this.bytes = 0;
  }
}

function streamOf(frame: PayloadFrame | EndFrame): number {
  return 'id' in frame ? frame.id : CAST_STREAM;
}

const NO_BYTES = Buffer.alloc(0);

/**
 * Copied at once: what a socket read is freed cheaply while it is young, and dearly once it has waited for the rest of
 * its message (a third of the CPU time of an echo of 64 KiB).
 */
function grown({ buffer, total, received }: Half, needed: number): Buffer {
  const room = Math.min(total, Math.max(FIRST_ROOM, needed * GROWTH));
  const larger = Buffer.allocUnsafeSlow(room);
  larger.set(buffer.subarray(0, received));
  return larger;
}
