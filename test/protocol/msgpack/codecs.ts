import { isGenRpcError, type GenRpcError } from '../../../lib/protocol/errors.js';
import { Msgpack5Codec } from '../../../lib/protocol/msgpack/msgpack5.codec.js';
import { MsgpackrCodec } from '../../../lib/protocol/msgpack/msgpackr.codec.js';

/** Both adapters of the profile. */
export const codecs = [new MsgpackrCodec(), new Msgpack5Codec()] as const;

export function fromHex(hex: string): Buffer {
  return Buffer.from(hex.replaceAll(' ', ''), 'hex');
}

/** A MessagePack string of fewer than 256 bytes. */
export function str(text: string | Buffer): Buffer {
  const content = Buffer.from(text as string);
  return Buffer.concat([
    content.length < 32 ? Buffer.of(0xa0 | content.length) : Buffer.of(0xd9, content.length),
    content,
  ]);
}

export type Entry = readonly [key: Buffer, value: Buffer];

/** A map with the header that its size calls for, of keys and values given as bytes. */
export function map(...entries: readonly Entry[]): Buffer {
  return Buffer.concat([Buffer.of(0x80 | entries.length), ...entries.flat()]);
}

/** A map with a header of 32 bits. */
export function map32(entries: readonly Entry[]): Buffer {
  const header = Buffer.alloc(5, 0xdf);
  header.writeUInt32BE(entries.length, 1);
  return Buffer.concat([header, ...entries.flat()]);
}

/** `value` inside `depth` arrays. */
export function nested(depth: number, value: Buffer): Buffer {
  return Buffer.concat([Buffer.alloc(depth, 0x91), value]);
}

/** The GenRpcError that `act` throws; fails when it throws none, or anything else. */
export function errorOf(act: () => unknown): GenRpcError {
  let returned: unknown;
  try {
    returned = act();
  } catch (error) {
    if (isGenRpcError(error)) return error;
    throw error;
  }
  throw new Error(`Expected an error, got ${String(returned)}.`);
}
