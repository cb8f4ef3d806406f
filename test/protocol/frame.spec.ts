import { describe, expect, it } from 'vitest';
import { WriteBatch } from '../../lib/connection/write-batch.js';
import type { GenRpcErrorCode } from '../../lib/protocol/errors.js';
import { FrameType, type CallFrame, type CastFrame, type ErrorFrame, type Frame } from '../../lib/protocol/frame.js';
import { FrameDecoder } from '../../lib/protocol/frame-decoder.js';
import { FrameEncoder } from '../../lib/protocol/frame-encoder.js';
import type { Payload } from '../../lib/protocol/payload.js';
import { framesIn, messagesIn } from '../support/frames.js';
import { bytesOf, rawFrame } from '../support/raw-peer.js';

const NONE: Payload = { kind: 'none', bytes: Buffer.alloc(0) };
const raw = (bytes: Uint8Array): Payload => ({ kind: 'raw', bytes });

function callOf(changes: Partial<CallFrame> = {}): CallFrame {
  return {
    type: FrameType.Call,
    id: 1,
    name: { module: 'math', fn: 'add', version: '' },
    timeoutMs: 5000,
    single: false,
    deliver: false,
    streamed: false,
    headers: undefined,
    payload: { kind: 'codec', bytes: Buffer.from('920102', 'hex') },
    ...changes,
  };
}

function castOf(changes: Partial<CastFrame>): CastFrame {
  const { name, single, headers, payload } = callOf();
  return { type: FrameType.Cast, name, single, headers, payload, ...changes };
}

function errorOf(changes: Partial<ErrorFrame>): ErrorFrame {
  return { type: FrameType.Error, id: 1, code: 'handler_failed', message: '', payload: NONE, ...changes };
}

/** What the peer reads of one frame. */
function travelled<T extends Frame>(frame: T): T {
  return messagesIn(bytesOf(frame))[0] as T;
}

describe('a frame that has travelled', () => {
  it.each<Frame>([
    callOf(),
    callOf({ id: 0xffffffff, timeoutMs: 0xffffffff, single: true, payload: NONE }),
    callOf({ name: { module: '', fn: '{"cmd":"sum"}', version: '1.2.3' }, headers: new Map([['a', '']]) }),
    castOf({}),
    callOf({ deliver: true }),
    castOf({ order: { lane: 0xffffffff, sequence: 0 }, headers: new Map([['a', 'b']]) }),
    { type: FrameType.Ping },
    { type: FrameType.Pong },
    castOf({ single: true, headers: new Map([['trace', '00-ab']]), payload: NONE }),
    callOf({ streamed: true }),
    { type: FrameType.Item, id: 7, sequence: 0, payload: raw(Buffer.of(0, 255)) },
    { type: FrameType.Item, id: 7, sequence: 0xffffffff, payload: NONE },
    { type: FrameType.Result, id: 7, payload: NONE },
    errorOf({ code: 'refused', message: 'später', payload: raw(Buffer.of(1)) }),
    { type: FrameType.Headers, id: 7, headers: new Map([['trace', '00-ab']]) },
    { type: FrameType.Cancel, id: 7 },
    { type: FrameType.Chunk, id: 0, bytes: Buffer.alloc(1024, 7), more: true },
    { type: FrameType.Chunk, id: 0xffffffff, bytes: Buffer.of(7), more: false },
    { type: FrameType.Credit, id: 0, connection: 0xffffffff, stream: 0 },
    { type: FrameType.Credit, id: 7, connection: 1, stream: 0xffffffff },
    { type: FrameType.End, id: 7, count: 0xffffffff },
    { type: FrameType.GoAway, lastId: 0xffffffff },
  ])('is what was sent: %o', (frame) => {
    expect(framesIn(bytesOf(frame))).toEqual([frame]);
  });

  it('names the longest names there are', () => {
    const name = { module: 'm'.repeat(255), fn: 'é'.repeat(512), version: 'v'.repeat(64) };
    expect(travelled(callOf({ name })).name).toEqual(name);
  });

  it('shares one object with every frame of the same name', () => {
    const [first, second] = framesIn(bytesOf(callOf(), callOf({ id: 2 }))) as CallFrame[];
    expect(second?.name).toBe(first?.name);
    expect(first?.name).toBeDefined();
  });
});

describe('the message of an error', () => {
  it.each([
    ['fits', 'x'.repeat(1024), 1024],
    ['is cut to 1 KiB', 'x'.repeat(5000), 1024],
    ['is cut before a character of two bytes', `${'x'.repeat(1023)}é`, 1023],
    ['is cut before a character of four bytes', `${'x'.repeat(1021)}😀`, 1021],
    ['is cut before a surrogate pair that its length splits', `${'x'.repeat(1023)}😀`, 1023],
  ])('%s', (_, message, length) => {
    expect(travelled(errorOf({ message })).message).toBe(message.slice(0, length));
  });

  it('keeps the details behind it, whatever their size', () => {
    for (const size of [0, 1, 4095, 4096, 4097, 20_000]) {
      const payload = raw(Buffer.alloc(size, 5));
      expect(travelled(errorOf({ message: 'm', payload })).payload).toMatchObject(payload);
    }
  });
});

describe('the code of an error', () => {
  it.each<[GenRpcErrorCode, GenRpcErrorCode]>([
    ['timeout', 'timeout'],
    ['message_too_large', 'message_too_large'],
    ['connection_lost', 'handler_failed'],
    ['invalid_cookie', 'handler_failed'],
  ])('%s arrives as %s', (sent, received) => {
    expect(travelled(errorOf({ code: sent })).code).toBe(received);
  });

  it('that a later version may send is a failure of the handler', () => {
    const frame = rawFrame(FrameType.Error, 0, 1, Buffer.of(200, 0, 0));
    expect(framesIn(frame)).toMatchObject([{ code: 'handler_failed', message: '' }]);
  });
});

describe('headers', () => {
  const encode = (headers: Map<string, string>) => (): Buffer => bytesOf(callOf({ headers }));

  it('may fill 16 KiB and not a byte more', () => {
    const value = 'v'.repeat(16 * 1024 - 4);
    expect(travelled(callOf({ headers: new Map([['h', value]]) })).headers?.get('h')).toBe(value);
    expect(encode(new Map([['h', `${value}v`]]))).toThrow(expect.objectContaining({ code: 'invalid_argument' }));
  });

  it.each([
    ['no name', ''],
    ['a name of 256 bytes', 'é'.repeat(128)],
    ['a name that is no text', '\ud800'],
  ])('with %s are refused by the sender', (_, name) => {
    expect(encode(new Map([[name, 'v']]))).toThrow(expect.objectContaining({ code: 'invalid_argument' }));
  });

  it('with a value that is no text are refused by the sender', () => {
    expect(encode(new Map([['h', 'a\udc00b']]))).toThrow(expect.objectContaining({ code: 'invalid_argument' }));
    expect(encode(new Map([['h', 5 as never]]))).toThrow(expect.objectContaining({ code: 'invalid_argument' }));
  });

  it('that are refused leave nothing of their frame behind', () => {
    const batch = new WriteBatch();
    expect(() => new FrameEncoder().encode(callOf({ headers: new Map([['', '']]) }), batch)).toThrow();
    expect(batch.take()).toEqual([]);
  });

  it.each([
    ['are longer than their frame', '0005 01 68'],
    ['end within a value', '0005 01 68 0004 76'],
    ['end within a length', '0003 01 68 00'],
    ['name nothing', '0004 00 0001 76'],
    ['name one thing twice', '0008 01 68 0000 01 68 0000'],
    ['are no UTF-8', '0005 01 68 0001 ff'],
  ])('that %s end the connection', (_, hex) => {
    const body = Buffer.from(`00001388 01 6d 0001 66 00 ${hex}`.replaceAll(' ', ''), 'hex');
    expect(() => framesIn(rawFrame(FrameType.Call, 0x04, 1, body))).toThrow(
      expect.objectContaining({ code: 'protocol_error' }),
    );
  });
});

describe('names', () => {
  it.each([
    ['whose module leaves the frame', '05 6d 0001 66 00'],
    ['whose function leaves the frame', '01 6d 0009 66 00'],
    ['whose version leaves the frame', '01 6d 0001 66 05 31'],
    ['without a version', '01 6d 0001 66'],
    ['that are no UTF-8', '01 ff 0001 66 00'],
    ['that hold half a surrogate pair', '03 eda080 0001 66 00'],
    ['that write a letter in two bytes', '02 c1a1 0001 66 00'],
  ])('%s end the connection', (_, hex) => {
    const name = Buffer.from(hex.replaceAll(' ', ''), 'hex');
    expect(() => framesIn(rawFrame(FrameType.Cast, 0, 0, name))).toThrow(
      expect.objectContaining({ code: 'protocol_error' }),
    );
  });
});

describe('a payload', () => {
  it('of up to 4,096 bytes is copied beside its header, a larger one is handed on as it is', () => {
    for (const [size, copied] of [
      [4096, true],
      [4097, false],
    ] as const) {
      const batch = new WriteBatch();
      const bytes = Buffer.alloc(size);
      new FrameEncoder().encode({ type: FrameType.Result, id: 1, payload: raw(bytes) }, batch);
      expect(batch.bytes).toBe(12 + size);
      expect(batch.take().includes(bytes)).toBe(!copied);
    }
  });

  it('that was taken out of a batch is not written over by those that follow', () => {
    const batch = new WriteBatch();
    const encoder = new FrameEncoder();
    const frames = Array.from({ length: 100 }, (_, index): Frame => {
      return { type: FrameType.Result, id: index + 1, payload: raw(Buffer.alloc(1000, index)) };
    });
    const taken = frames.map((frame) => {
      encoder.encode(frame, batch);
      return batch.take();
    });
    expect(framesIn(...taken.flat().map((chunk) => Buffer.from(chunk)))).toEqual(frames);
    expect(batch.take()).toEqual([]);
  });
});

describe('a decoder that was stopped', () => {
  it('hands out nothing more, not even of bytes that it has', () => {
    const decoder = new FrameDecoder(1024);
    const seen: Frame[] = [];
    decoder.push(bytesOf({ type: FrameType.Cancel, id: 1 }, { type: FrameType.Cancel, id: 2 }), (frame) => {
      seen.push(frame);
      decoder.stop();
    });
    decoder.push(bytesOf({ type: FrameType.Cancel, id: 3 }), (frame) => seen.push(frame));
    expect(seen).toEqual([{ type: FrameType.Cancel, id: 1 }]);
    expect(decoder.midFrame).toBe(false);
  });
});
