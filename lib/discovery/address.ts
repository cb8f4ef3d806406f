/** Addresses at which no node can be: whoever writes one into a registry wants something else to be dialled. */
import { isHost } from '../options/option-rules.js';
import { printable } from '../protocol/node-name.js';

/** Why nobody can be dialled there, or `undefined`. Either may be left out. */
export function placeProblem(host: unknown, port: unknown): string | undefined {
  if (port !== undefined && !(Number.isInteger(port) && Number(port) >= 1 && Number(port) <= 65_535)) {
    return `a port must be from 1 to 65535, got ${printable(`port ${String(port)}`)}`;
  }
  if (host === undefined) return undefined;
  if (typeof host !== 'string' || !isHost(host)) return `a host name or address was expected, got ${printable(host)}`;
  const kind = kindOf(host);
  return kind === undefined ? undefined : `${printable(host)} is ${kind} address, where no node can be`;
}

/** What makes it unusable, if it is an address that is. Names are looked up later, by the system. */
function kindOf(host: string): string | undefined {
  const normal = normalised(host);
  if (normal.startsWith('[')) return kindOfIPv6(normal.slice(1, -1));
  const bytes = /^\d+\.\d+\.\d+\.\d+$/.test(normal) ? normal.split('.').map(Number) : undefined;
  return bytes === undefined ? undefined : kindOfIPv4(bytes);
}

/** RFC 6890: this network, link-local, multicast, reserved and broadcast. */
function kindOfIPv4([first = 0, second = 0]: readonly number[]): string | undefined {
  if (first === 0) return 'an unspecified';
  if (first === 169 && second === 254) return 'a link-local';
  if (first >= 224) return first < 240 ? 'a multicast' : 'a reserved';
  return undefined;
}

function kindOfIPv6(address: string): string | undefined {
  const mapped = /^::ffff:([0-9a-f]+):([0-9a-f]+)$/.exec(address);
  if (mapped !== null) {
    const [high, low] = [Number.parseInt(mapped[1] ?? '', 16), Number.parseInt(mapped[2] ?? '', 16)];
    return kindOfIPv4([high >> 8, high & 255, low >> 8, low & 255]);
  }
  if (address === '::') return 'an unspecified';
  if (/^fe[89ab]/.test(address)) return 'a link-local';
  return address.startsWith('ff') ? 'a multicast' : undefined;
}

/** As browsers write it: `2852039166`, `0xa9fea9fe` and `169.254.169.254` are one address. (WHATWG URL) */
function normalised(host: string): string {
  try {
    return new URL(`http://${host.includes(':') ? `[${host}]` : host}/`).hostname;
  } catch {
    return host;
  }
}
