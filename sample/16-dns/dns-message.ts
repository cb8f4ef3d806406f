/** Messages of the domain name system, as few of them as a name server of one's own needs. (RFC 1035, 2782, 3596) */

export type DnsType = 'A' | 'AAAA' | 'SRV';

/** What one name leads to. An address is written as text; IPv6 in all of its eight parts or with one `::`. */
export type DnsRecord =
  | { readonly type: 'A' | 'AAAA'; readonly address: string; readonly ttl?: number }
  | {
      readonly type: 'SRV';
      readonly target: string;
      readonly port: number;
      readonly priority?: number;
      readonly weight?: number;
      readonly ttl?: number;
    };

export interface DnsQuestion {
  readonly name: string;
  /** `undefined`: another one. */
  readonly type: DnsType | undefined;
  /** The question as it came, without what may stand behind it. */
  readonly bytes: Buffer;
}

const TYPES: Readonly<Record<DnsType, number>> = { A: 1, AAAA: 28, SRV: 33 };
const HEADER = 12;

export function readQuestion(query: Buffer): DnsQuestion {
  const labels: string[] = [];
  let at = HEADER;
  for (let length = query[at] ?? 0; length > 0; length = query[at] ?? 0) {
    labels.push(query.toString('latin1', at + 1, at + 1 + length));
    at += 1 + length;
  }
  const code = query.readUInt16BE(at + 1);
  const type = (Object.keys(TYPES) as DnsType[]).find((one) => TYPES[one] === code);
  return { name: labels.join('.').toLowerCase(), type, bytes: query.subarray(0, at + 5) };
}

export interface DnsVerdict {
  /** 0: all is well, 2: SERVFAIL, 3: NXDOMAIN. */
  readonly rcode?: number;
  /** There is more than this message has room for. */
  readonly isTruncated?: boolean;
}

export function writeAnswer(
  { bytes }: DnsQuestion,
  records: readonly DnsRecord[],
  { rcode = 0, isTruncated = false }: DnsVerdict = {},
): Buffer {
  const head = Buffer.from(bytes);
  // A response; to be had by recursion, as it was wished for.
  head.writeUInt16BE(0x8180 | (isTruncated ? 0x0200 : 0) | rcode, 2);
  head.writeUInt16BE(1, 4);
  head.writeUInt16BE(records.length, 6);
  head.writeUInt32BE(0, 8);
  return Buffer.concat([head, ...records.map(written)]);
}

function written(record: DnsRecord): Buffer {
  const data = record.type === 'SRV' ? service(record) : address(record.address);
  const head = Buffer.alloc(HEADER);
  // The name is the one in the question.
  head.writeUInt16BE(0xc000 | HEADER, 0);
  head.writeUInt16BE(TYPES[record.type], 2);
  head.writeUInt16BE(1, 4);
  head.writeUInt32BE(record.ttl ?? 5, 6);
  head.writeUInt16BE(data.length, 10);
  return Buffer.concat([head, data]);
}

function service({ target, port, priority = 0, weight = 0 }: DnsRecord & { type: 'SRV' }): Buffer {
  const head = Buffer.alloc(6);
  [priority, weight, port].forEach((value, at) => head.writeUInt16BE(value, 2 * at));
  const labels = target.split('.').filter((label) => label !== '');
  const name = labels.map((label) => Buffer.concat([Buffer.of(label.length), Buffer.from(label, 'latin1')]));
  return Buffer.concat([head, ...name, Buffer.of(0)]);
}

function address(text: string): Buffer {
  if (!text.includes(':')) return Buffer.from(text.split('.').map(Number));
  const [front = '', back = ''] = text.split('::');
  const [left, right] = [front, back].map((half) => half.split(':').filter((part) => part !== ''));
  const parts = [
    ...(left ?? []),
    ...Array<string>(8 - (left?.length ?? 0) - (right?.length ?? 0)).fill('0'),
    ...(right ?? []),
  ];
  return Buffer.from(parts.map((part) => part.padStart(4, '0')).join(''), 'hex');
}
