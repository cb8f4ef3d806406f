/** docs/PROTOCOL.md says what the code does: its examples are decoded, compared, and written again byte for byte. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { codeOfWire, GenRpcError, type GenRpcErrorCode } from '../../lib/protocol/errors.js';
import {
  FrameFlag,
  FrameType,
  HEADER_BYTES,
  type CallFrame,
  type CastFrame,
  type ChunkFrame,
  type Frame,
} from '../../lib/protocol/frame.js';
import {
  deriveKeys,
  proveClient,
  proveServer,
  transcript,
  verifyClient,
  verifyServer,
} from '../../lib/protocol/handshake.js';
import {
  decodeClientHello,
  decodeReject,
  decodeServerHello,
  encodeClientHello,
  encodeReject,
  encodeServerHello,
  handshakeFrame,
  HandshakeReader,
  HandshakeType,
  RejectReason,
} from '../../lib/protocol/handshake-frames.js';
import { MsgpackrCodec } from '../../lib/protocol/msgpack/msgpackr.codec.js';
import { decodePayload, type Payload } from '../../lib/protocol/payload.js';
import { framesIn } from '../support/frames.js';
import { bytesOf } from '../support/raw-peer.js';
import { TCP_BINDING } from '../support/raw-socket.js';

const TEXT = readFileSync(join(import.meta.dirname, '../../docs/PROTOCOL.md'), 'utf8');

/** Fenced blocks by their caption: ```hex call, ```json call. */
function blocksOf(kind: 'hex' | 'json'): Map<string, string> {
  const blocks = [...TEXT.matchAll(/^```(\w+) ([^\n]+)\n(.*?)^```$/gms)];
  return new Map(blocks.filter(([, one]) => one === kind).map(([, , caption = '', body = '']) => [caption, body]));
}

const HEX = blocksOf('hex');
const STATED = blocksOf('json');

function bytesOfExample(caption: string): Buffer {
  const text = (HEX.get(caption) ?? '').replaceAll(/\s+/g, '');
  expect(text).toMatch(/^([0-9a-f]{2})+$/);
  return Buffer.from(text, 'hex');
}

function statedOf<T = unknown>(caption: string): T {
  return JSON.parse(STATED.get(caption) ?? '{}') as T;
}

/** The cells of every row of the tables under a heading of these columns. */
function rowsUnder(...columns: readonly string[]): string[][] {
  const heading = `| ${columns.join(' | ')} |`.replaceAll('|  |', '| |');
  const [, rest = ''] = TEXT.split(`\n${heading}\n`);
  const lines = rest.split('\n').slice(1);
  const end = lines.findIndex((line) => !line.startsWith('|'));
  return lines.slice(0, end).map((line) =>
    line
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim().replaceAll('`', '')),
  );
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

/** The words of the document for a payload. */
function payloadSaid(payload: Payload): unknown {
  if (payload.kind === 'none') return { kind: 'none' };
  if (payload.kind === 'raw') return { kind: 'raw', hex: hex(payload.bytes) };
  return { kind: 'codec', value: decodePayload(new MsgpackrCodec(), payload) };
}

type Parts = Partial<
  Pick<CallFrame, 'headers' | 'payload' | 'streamed'> & Pick<CastFrame, 'order'> & Pick<ChunkFrame, 'bytes'>
>;

/** The words of the document for a frame. */
function said(frame: Frame): unknown {
  const [name] = Object.entries(FrameType).find(([, type]) => type === frame.type) ?? [''];
  const { headers, payload, streamed, order, bytes, ...rest } = frame as Frame & Parts;
  return {
    ...rest,
    type: name.toUpperCase(),
    ...(order === undefined ? {} : { order }),
    ...(headers === undefined ? {} : { headers: Object.fromEntries(headers) }),
    ...(payload === undefined ? {} : { payload: payloadSaid(payload) }),
    ...(streamed === true ? { streamed } : {}),
    ...(bytes === undefined ? {} : { hex: hex(bytes) }),
  };
}

const HANDSHAKE_CAPTIONS = ['client-hello', 'server-hello', 'proof', 'accept', 'reject'];
const frameCaptions = [...HEX.keys()].filter((caption) => !HANDSHAKE_CAPTIONS.includes(caption));

describe('the examples of frames', () => {
  it('are there for every type', () => {
    const shown = new Set(frameCaptions.map((caption) => caption.split(' ')[0]));
    expect(shown).toEqual(new Set(Object.keys(FrameType).map((name) => name.toLowerCase())));
    expect(HANDSHAKE_CAPTIONS.filter((caption) => !HEX.has(caption))).toEqual([]);
  });

  it.each(frameCaptions)('%s says what it is', (caption) => {
    const frames = framesIn(bytesOfExample(caption));
    expect(frames.map(said)).toEqual([statedOf(caption)]);
  });

  it.each(frameCaptions)('%s is written byte for byte as it stands', (caption) => {
    const bytes = bytesOfExample(caption);
    expect(hex(bytesOf(...framesIn(bytes)))).toBe(hex(bytes));
  });
});

describe('the examples of the handshake', () => {
  function bodyOf(caption: string, type: HandshakeType): Buffer {
    const reader = new HandshakeReader();
    const frame = reader.next(bytesOfExample(caption), type);
    expect(reader.rest).toHaveLength(0);
    return frame?.body ?? Buffer.alloc(0);
  }
  const withHex = (hello: object): unknown =>
    Object.fromEntries(
      Object.entries(hello).map(([key, value]) => [key, value instanceof Uint8Array ? hex(value) : value]),
    );

  it('client-hello', () => {
    const hello = decodeClientHello(bodyOf('client-hello', HandshakeType.ClientHello));
    expect(withHex(hello)).toEqual(statedOf('client-hello'));
    expect(handshakeFrame(HandshakeType.ClientHello, encodeClientHello(hello))).toEqual(bytesOfExample('client-hello'));
  });

  it('server-hello', () => {
    const hello = decodeServerHello(bodyOf('server-hello', HandshakeType.ServerHello));
    expect(withHex(hello)).toEqual(statedOf('server-hello'));
    expect(handshakeFrame(HandshakeType.ServerHello, encodeServerHello(hello))).toEqual(bytesOfExample('server-hello'));
  });

  it('reject', () => {
    const reject = decodeReject(bodyOf('reject', HandshakeType.Reject));
    expect(reject).toEqual(statedOf('reject'));
    expect(handshakeFrame(HandshakeType.Reject, encodeReject(reject))).toEqual(bytesOfExample('reject'));
  });

  it('proof and accept hold, and are the only ones that this secret gives', () => {
    const stated = statedOf<{ secret: string; T: string; Kc: string; Ks: string }>('proof');
    const keys = deriveKeys(Buffer.from(stated.secret));
    const script = transcript(bytesOfExample('client-hello'), bytesOfExample('server-hello'), TCP_BINDING);
    const proofs = bodyOf('proof', HandshakeType.Proof);
    const accept = bodyOf('accept', HandshakeType.Accept);
    expect({ T: hex(script), Kc: hex(keys.client.export()), Ks: hex(keys.server.export()) }).toEqual({
      T: stated.T,
      Kc: stated.Kc,
      Ks: stated.Ks,
    });
    expect(verifyClient([keys], script, proofs)).toBe(keys);
    expect(verifyServer([keys], script, proofs, accept)).toBe(true);
    expect([hex(proveClient([keys], script)), hex(proveServer(keys, script, proofs))]).toEqual([
      hex(proofs),
      hex(accept),
    ]);
  });
});

describe('the tables', () => {
  it('name every type of frame with its number', () => {
    const rows = rowsUnder('type', 'name', 'sent by', 'stream', 'flags allowed', 'least body', 'most body');
    const types = [...Object.values(HandshakeType), ...Object.values(FrameType)];
    expect(rows.map(([type]) => Number(type))).toEqual(types);
    const names = [
      'HELLO',
      'HELLO',
      'PROOF',
      'ACCEPT',
      'REJECT',
      ...Object.keys(FrameType).map((name) => name.toUpperCase()),
    ];
    expect(rows.map(([, name]) => name)).toEqual(names);
  });

  it('name every flag with its bit', () => {
    expect(rowsUnder('flag', 'name', '').map(([bit]) => Number(bit))).toEqual(Object.values(FrameFlag));
  });

  it('give the header its size', () => {
    const [last] = rowsUnder('offset', 'size', 'field', '').slice(-1);
    expect(last?.slice(0, 3)).toEqual([String(HEADER_BYTES), 'length', 'body']);
  });

  it('name every reason of a refusal', () => {
    expect(rowsUnder('reason', '', "the client's error").map(([reason]) => Number(reason))).toEqual(
      Object.values(RejectReason),
    );
  });

  it('name every error with its number and its family', () => {
    const rows = rowsUnder('number', 'code', 'family', 'gen_rpc', 'may have run');
    const sent = Array.from({ length: 256 }, (_, wire) => [wire, codeOfWire(wire)]).filter(
      ([, code]) => code !== undefined,
    );
    expect(rows.filter(([number]) => number !== '').map(([number, code]) => [Number(number), code])).toEqual(sent);
    for (const [, code, family] of rows)
      expect(new GenRpcError(code as GenRpcErrorCode)).toMatchObject({ code, family });
    const all = /^ {2}(\w+): \{ wire/gm;
    const source = readFileSync(join(import.meta.dirname, '../../lib/protocol/errors.ts'), 'utf8');
    expect(new Set(rows.map(([, code]) => code))).toEqual(new Set([...source.matchAll(all)].map(([, code]) => code)));
  });
});
