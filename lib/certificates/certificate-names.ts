/** Which nodes a certificate speaks for: the one rule that both ends of a connection hold each other to. */
import type { X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import { domainToASCII } from 'node:url';
import { hostOf, printable } from '../protocol/node-name.js';

export interface NameRules {
  /** May `*.example.com` stand for hosts one level below `example.com`? */
  readonly allowWildcards: boolean;
  /** Is the common name believed, of a certificate that has no alternative names at all? */
  readonly allowCommonName: boolean;
}

/** An alternative name of this kind names a whole node, not only its host. */
const NODE_URI = 'URI:genrpc:';

/**
 * Why the certificate does not speak for the node, or `undefined` where it does: it names the node's host, and the
 * whole node if it names whole nodes.
 */
export function nameMismatch(certificate: X509Certificate, node: string, rules: NameRules): string | undefined {
  const host = normalHost(hostOf(node));
  if (host === undefined) return `${printable(node)} has no host that a certificate could name`;
  const names = alternativeNames(certificate.subjectAltName);
  if (!namesHost(certificate, host, rules)) return `it is not for host ${host}, but for ${listed(names)}`;
  const nodes = names.filter((name) => name.startsWith(NODE_URI)).map((name) => name.slice(NODE_URI.length));
  if (nodes.length === 0 || nodes.some((named) => isSameNode(named, node))) return undefined;
  return `it is not for node ${node}, but for ${listed(nodes)}`;
}

/** `DNS:b.example`, `IP Address:10.0.0.2`, `URI:genrpc:b@b.example`: as Node lists them, one by one. */
export function alternativeNames(list = ''): string[] {
  const names: string[] = [];
  // A value that could be taken for several is quoted, as in JSON.
  for (const [, kind = '', value = ''] of list.matchAll(/([^:,]+):("(?:[^"\\]|\\.)*"|[^,]*)(?:, |$)/g)) {
    names.push(`${kind}:${value.startsWith('"') ? unquoted(value) : value}`);
  }
  return names;
}

/** A host as certificates name it; `undefined` for what is neither an address nor a name, nor means one thing only. */
export function normalHost(host: string): string | undefined {
  const bare = host
    .toLowerCase()
    .replace(/\.$/, '')
    .replace(/^\[(.*)\]$/, '$1');
  if (isIP(bare) === 4) return bare;
  if (isIP(bare) === 6) return shortestIPv6(bare);
  const name = domainToASCII(bare);
  // `0x7f.1` is an address that is not written as one; a name that begins with a dot would match whatever is below it.
  return name.split('.').every((label) => LABEL.test(label)) && isIP(name) === 0 ? name : undefined;
}

const LABEL = /^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$/;

function shortestIPv6(address: string): string | undefined {
  try {
    return new URL(`http://[${address}]`).hostname.slice(1, -1);
  } catch {
    return undefined;
  }
}

function namesHost(
  certificate: X509Certificate,
  host: string,
  { allowWildcards, allowCommonName }: NameRules,
): boolean {
  const byName = allowCommonName && certificate.subjectAltName === undefined;
  if (isIP(host) !== 0 && !byName) return certificate.checkIP(host) !== undefined;
  const found = certificate.checkHost(host, {
    subject: byName ? 'always' : 'never',
    wildcards: allowWildcards,
    partialWildcards: false,
    multiLabelWildcards: false,
    singleLabelSubdomains: false,
  });
  return found !== undefined;
}

function isSameNode(named: string, node: string): boolean {
  const [name, host] = partsOf(named);
  const [wantedName, wantedHost] = partsOf(node);
  return name === wantedName && host !== undefined && host === wantedHost;
}

function partsOf(node: string): [name: string, host: string | undefined] {
  const at = node.indexOf('@');
  return [node.slice(0, at), normalHost(node.slice(at + 1))];
}

function unquoted(value: string): string {
  try {
    return String(JSON.parse(value));
  } catch {
    return value;
  }
}

function listed(names: readonly string[]): string {
  return names.length === 0 ? 'none' : printable(names.join(', '), 200);
}
