/** Messages of which only a part is here: memory by what has arrived, never by what was announced. */
import { MAX_INTERLEAVED, type ChunkFrame, type PayloadFrame } from '../protocol/frame.js';
import { corrupt } from '../protocol/frame-decoder.js';
import { Pieces } from './pieces.js';

interface Half {
  readonly frame: PayloadFrame;
  readonly total: number;
  readonly pieces: Pieces;
}

export class Assembler {
  private readonly halves = new Map<number, Half>();
  /** Bytes that wait for the rest of their message. */
  bytes = 0;

  get size(): number {
    return this.halves.size;
  }

  /** @throws GenRpcError `protocol_error`: a stream carries one message at a time, and a connection so many. */
  begin(id: number, frame: PayloadFrame, total: number): void {
    if (this.halves.has(id)) throw corrupt(`a message begins on stream ${id} before the last one has ended`);
    if (this.halves.size >= MAX_INTERLEAVED) throw corrupt(`more than ${MAX_INTERLEAVED} messages are interleaved`);
    this.halves.set(id, { frame, total, pieces: new Pieces() });
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
    const { frame, pieces, total } = half;
    pieces.add(bytes);
    this.bytes += bytes.length;
    if (pieces.length > total || more === (pieces.length === total)) {
      throw corrupt(`a message of ${total} bytes ${more ? 'goes on' : 'ends'} after ${pieces.length}`);
    }
    if (more) return undefined;
    this.drop(id);
    const payload = { ...frame.payload, bytes: pieces.join(), owned: true } as const;
    return { ...frame, payload, total: undefined };
  }

  /** Nobody waits for this message any more. Safe to repeat. */
  drop(id: number): void {
    const half = this.halves.get(id);
    if (half === undefined) return;
    this.bytes -= half.pieces.length;
    this.halves.delete(id);
  }

  clear(): void {
    this.halves.clear();
    this.bytes = 0;
  }
}
