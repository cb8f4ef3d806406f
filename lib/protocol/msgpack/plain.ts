/** Reads MessagePack without any library, for the rare payload that a library would misread. Slower, and always right. */

/** The value of scanned bytes: they must have passed `PayloadScanner`, with no extension types but the profile's. */
export function readPlain(bytes: Buffer): unknown {
  return new PlainReader(bytes).value();
}

class PlainReader {
  private offset = 0;

  constructor(private readonly bytes: Buffer) {}

  value(): unknown {
    const token = this.unsigned(1);
    if (token < 0x80) return token;
    if (token < 0x90) return this.map(token & 0x0f);
    if (token < 0xa0) return this.array(token & 0x0f);
    if (token < 0xc0) return this.text(token & 0x1f);
    if (token >= 0xe0) return token - 0x100;
    if (token >= 0xdc)
      return token < 0xde ? this.array(this.length(token - 0xdb)) : this.map(this.length(token - 0xdd));
    if (token >= 0xd9) return this.text(this.length(token - 0xd9));
    if (token >= 0xd4) return this.extension(1 << (token - 0xd4));
    if (token >= 0xca) return this.number(token);
    if (token >= 0xc7) return this.extension(this.length(token - 0xc7));
    if (token >= 0xc4) return this.binary(this.length(token - 0xc4));
    return token === 0xc0 ? null : token === 0xc3;
  }

  private unsigned(size: number): number {
    const value = this.bytes.readUIntBE(this.offset, size);
    this.offset += size;
    return value;
  }

  /** A length of 2^rank bytes. */
  private length(rank: number): number {
    return this.unsigned(1 << rank);
  }

  private number(token: number): unknown {
    const start = this.offset;
    this.offset += NUMBER_BYTES[token - 0xca] as number;
    switch (token) {
      case 0xca:
        return this.bytes.readFloatBE(start);
      case 0xcb:
        return this.bytes.readDoubleBE(start);
      case 0xcf:
        return this.bytes.readBigUInt64BE(start);
      case 0xd3:
        return this.bytes.readBigInt64BE(start);
      default:
        return token < 0xd0
          ? this.bytes.readUIntBE(start, this.offset - start)
          : this.bytes.readIntBE(start, this.offset - start);
    }
  }

  private take(length: number): Buffer {
    const start = this.offset;
    this.offset += length;
    return this.bytes.subarray(start, this.offset);
  }

  private text(length: number): string {
    return this.take(length).toString('utf8');
  }

  /** A copy with memory of its own. */
  private binary(length: number): Buffer {
    return Uint8Array.prototype.slice.call(this.take(length)) as Buffer;
  }

  private array(length: number): unknown[] {
    const items: unknown[] = [];
    for (let i = 0; i < length; i++) items.push(this.value());
    return items;
  }

  private map(length: number): Record<string, unknown> {
    const entries: Record<string, unknown> = {};
    for (let i = 0; i < length; i++) {
      const key = this.value() as string;
      entries[key] = this.value();
    }
    return entries;
  }

  private extension(length: number): Date | undefined {
    this.offset++;
    const content = this.take(length);
    if (length === 1) return undefined;
    if (length === 4) return new Date(content.readUInt32BE() * 1000);
    const upper = content.readUInt32BE();
    if (length === 8)
      return new Date((upper % 4) * 2 ** 32 * 1000 + content.readUInt32BE(4) * 1000 + (upper >>> 2) / 1e6);
    return new Date(Number(content.readBigInt64BE(4)) * 1000 + upper / 1e6);
  }
}

/** Indexed by token - 0xca. */
const NUMBER_BYTES = [4, 8, 1, 2, 4, 8, 1, 2, 4, 8] as const;
