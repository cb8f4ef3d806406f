import { Packr } from 'msgpackr';
import { GenRpcError } from './errors.js';
export class Msgpack5Codec { readonly id: string = 'msgpack5'; private p = new Packr({ useRecords: false, moreTypes: false, int64AsType: 'auto' } as any);
 encode(v: unknown): Uint8Array { try { return this.p.pack(v); } catch (cause) { throw new GenRpcError('encode_error', undefined, { cause }); } }
 decode(b: Uint8Array): unknown { try { return this.p.unpack(b); } catch (cause) { throw new GenRpcError('protocol_error', undefined, { cause }); } } }
