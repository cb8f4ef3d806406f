/** Reads of a list of revoked certificates whose it is and how long it is good for: Node tells neither. */
import type { X509Certificate } from 'node:crypto';

export interface RevocationList {
  /** The name of the authority, as bytes: see `isListOf`. */
  readonly issuer: Buffer;
  readonly thisUpdate: Date;
  /** `undefined`: it is good until there is another. */
  readonly nextUpdate: Date | undefined;
}

/** The lists in PEM text. @throws Error where one cannot be read. */
export function revocationListsIn(pem: string): RevocationList[] {
  const blocks = pem.matchAll(/-----BEGIN X509 CRL-----([^-]+)-----END X509 CRL-----/g);
  return [...blocks].map(([, base64 = '']) => readList(Buffer.from(base64, 'base64')));
}

export function isListOf(list: RevocationList, authority: X509Certificate): boolean {
  const fields = fieldsOf(authority.raw);
  // The version, which may be left out, stands in front of serial number, signature, issuer, validity and subject.
  const subject = fields[fields[0]?.tag === EXPLICIT_0 ? 5 : 4];
  return subject !== undefined && subject.whole.equals(list.issuer);
}

/** What stands in front of a value in DER. */
const INTEGER = 0x02;
const UTC_TIME = 0x17;
const GENERALIZED_TIME = 0x18;
const EXPLICIT_0 = 0xa0;

interface Value {
  readonly tag: number;
  readonly body: Buffer;
  /** With what stands in front. */
  readonly whole: Buffer;
}

function readList(der: Buffer): RevocationList {
  const fields = fieldsOf(der);
  // The version, which may be left out, stands in front of signature, issuer, this update and the next.
  const [, issuer, from, until] = fields[0]?.tag === INTEGER ? fields.slice(1) : fields;
  const thisUpdate = from === undefined ? undefined : timeOf(from);
  if (issuer === undefined || thisUpdate === undefined) throw new Error('no list of revoked certificates');
  return { issuer: issuer.whole, thisUpdate, nextUpdate: until === undefined ? undefined : timeOf(until) };
}

/** Of what is signed, in a certificate as in a list: the first value in the first value of all. */
function fieldsOf(der: Buffer): Value[] {
  const [all] = valuesIn(der);
  const [signed] = all === undefined ? [] : valuesIn(all.body);
  return signed === undefined ? [] : valuesIn(signed.body);
}

function valuesIn(der: Buffer): Value[] {
  const values: Value[] = [];
  for (let at = 0; at < der.length;) {
    const { begin, end } = extentOf(der, at);
    values.push({ tag: der.readUInt8(at), body: der.subarray(begin, end), whole: der.subarray(at, end) });
    at = end;
  }
  return values;
}

/** @throws Error where it does not end within `der`. */
function extentOf(der: Buffer, at: number): { begin: number; end: number } {
  const first = der.readUInt8(at + 1);
  const more = first < 0x80 ? 0 : first & 0x7f;
  const begin = at + 2 + more;
  const length = more === 0 ? first : der.readUIntBE(at + 2, more);
  if (begin + length > der.length) throw new RangeError('a value that is cut short');
  return { begin, end: begin + length };
}

/** `undefined`: it is no time. */
function timeOf({ tag, body }: Value): Date | undefined {
  if (tag !== UTC_TIME && tag !== GENERALIZED_TIME) return undefined;
  const text = body.toString('latin1');
  // Two digits of a year mean 1950 to 2049 (RFC 5280, 4.1.2.5.1).
  const full = tag === UTC_TIME ? `${Number(text.slice(0, 2)) < 50 ? '20' : '19'}${text}` : text;
  const [, year, month, day, hour, minute, second] = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/.exec(full) ?? [];
  return year === undefined ? undefined : new Date(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`);
}
