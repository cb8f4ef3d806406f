/** Messages put together from their chunks: memory by what is here, and nothing kept of what nobody waits for. */
import { describe, expect, it } from 'vitest';
import { Assembler } from '../../lib/connection/assembler.js';
import { FrameType, MAX_INTERLEAVED, type ChunkFrame, type ResultFrame } from '../../lib/protocol/frame.js';

const CORRUPT = expect.objectContaining({ code: 'protocol_error' });
const MIB = 1024 * 1024;

function head(id: number, total: number): ResultFrame {
  return { type: FrameType.Result, id, payload: { kind: 'raw', bytes: Buffer.alloc(0) }, total };
}

function chunk(id: number, bytes: Buffer, more: boolean): ChunkFrame {
  return { type: FrameType.Chunk, id, bytes, more };
}

describe('Assembler', () => {
  it('hands a message out with its last chunk, whole and in memory of its own', () => {
    const assembler = new Assembler();
    const bytes = Buffer.from('one message in three parts');
    assembler.begin(head(1, bytes.length), bytes.length);
    expect(assembler.add(chunk(1, bytes.subarray(0, 10), true))).toBeUndefined();
    expect(assembler.add(chunk(1, bytes.subarray(10, 12), true))).toBeUndefined();
    const whole = assembler.add(chunk(1, bytes.subarray(12), false));
    expect(whole).toMatchObject({ type: FrameType.Result, id: 1, total: undefined });
    expect(Buffer.from(whole?.payload.bytes ?? []).toString()).toBe('one message in three parts');
    expect(whole?.payload).toMatchObject({ kind: 'raw', owned: true });
    expect([assembler.size, assembler.bytes]).toEqual([0, 0]);
  });

  it('B-13 counts what has arrived, not what was announced, and takes 16 at a time', () => {
    const assembler = new Assembler();
    for (let id = 1; id <= MAX_INTERLEAVED; id += 1) {
      assembler.begin(head(id, 4 * MIB), 4 * MIB);
      assembler.add(chunk(id, Buffer.alloc(1), true));
    }
    expect([assembler.size, assembler.bytes]).toEqual([16, 16]);
    expect(() => assembler.begin(head(17, 100), 100)).toThrow(CORRUPT);
    assembler.drop(3);
    assembler.drop(3);
    assembler.drop(99);
    assembler.begin(head(17, 100), 100);
    expect([assembler.size, assembler.bytes]).toEqual([16, 15]);
    assembler.clear();
    expect([assembler.size, assembler.bytes]).toEqual([0, 0]);
  });

  it('takes one message of a stream at a time', () => {
    const assembler = new Assembler();
    assembler.begin(head(1, 100), 100);
    expect(() => assembler.expectNone(head(1, 100))).toThrow(CORRUPT);
  });

  it.each([
    ['ends too soon', 9, false],
    ['goes on at its end', 10, true],
    ['is too long', 11, false],
    ['is too long and goes on', 11, true],
  ])('refuses a message that %s', (_what, length, more) => {
    const assembler = new Assembler();
    assembler.begin(head(1, 10), 10);
    expect(() => assembler.add(chunk(1, Buffer.alloc(length), more))).toThrow(CORRUPT);
  });

  it('knows nothing of a message that was dropped', () => {
    const assembler = new Assembler();
    assembler.begin(head(1, 10), 10);
    assembler.drop(1);
    expect(assembler.has(1)).toBe(false);
    expect(assembler.add(chunk(1, Buffer.alloc(10), false))).toBeUndefined();
    expect(assembler.bytes).toBe(0);
  });
});
