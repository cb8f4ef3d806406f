/** Finds out what a peer would refuse, before it does: at the start, where somebody reads it. */
import type { X509Certificate } from 'node:crypto';
import {
  chainOf,
  hasUsage,
  issuerOf,
  subjectOf,
  validFrom,
  validTo,
  type CertificateChain,
} from './certificate-chain.js';
import type { ReadCredentials } from './credential-files.js';
import type { CredentialProblem } from './credential-options.js';
import { isListOf, type RevocationList } from './revocation-list.js';

export interface CredentialRules {
  /** Why a certificate does not speak for the node that shows it; `undefined`: it does. */
  readonly mismatch: (certificate: X509Certificate) => string | undefined;
  readonly now: Date;
  /** Who may have issued it: a node may show a certificate of one authority and trust another, but both are its own. */
  readonly authorities: readonly X509Certificate[];
}

/** The list that counts for an authority. */
export interface ListInUse {
  readonly authority: X509Certificate;
  readonly list: RevocationList;
}

export interface Judgement {
  /** `undefined`: there is none, and `problems` says why. */
  readonly chain: CertificateChain | undefined;
  readonly lists: readonly ListInUse[];
  readonly problems: readonly CredentialProblem[];
}

export function judge(read: ReadCredentials, rules: CredentialRules): Judgement {
  const revoked = judgeLists(read, rules.now);
  const [leaf, ...between] = read.own;
  if (leaf === undefined) return { chain: undefined, ...revoked };
  const { role, pathOf } = read.options;
  const path = pathOf('cert');
  const chain = chainOf(leaf, between, rules.authorities);
  const mismatch = rules.mismatch(leaf);
  const expectations = [
    ...(chain === undefined && rules.authorities.length > 0 ? [untrusted(leaf, between, pathOf('ca'))] : []),
    ...(chain ?? [leaf]).flatMap((one) => dated(one, rules.now)),
    ...(hasUsage(leaf, role) ? [] : [`a certificate whose extended key usage allows ${role}Auth`]),
    ...(mismatch === undefined ? [] : [`a certificate of this node; ${mismatch}`]),
  ];
  const isItsKey = read.key === undefined || leaf.checkPrivateKey(read.key);
  const key = { path: pathOf('key'), expected: `the key of the certificate in ${path} (${subjectOf(leaf)})` };
  return {
    chain,
    lists: revoked.lists,
    problems: [
      ...expectations.map((expected) => ({ path, expected })),
      ...(isItsKey ? [] : [key]),
      ...read.authorities.filter((one) => !one.ca).map((one) => ({ path: pathOf('ca'), expected: noAuthority(one) })),
      ...revoked.problems,
    ],
  };
}

/** With a list of one authority, OpenSSL believes no certificate of another that has none, or an old one. */
function judgeLists({ authorities, lists, options }: ReadCredentials, now: Date): Omit<Judgement, 'chain'> {
  if (lists.length === 0) return { lists: [], problems: [] };
  const found = authorities.map((authority) => ({ authority, list: latest(lists, authority) }));
  return {
    lists: found.flatMap(({ authority, list }) => (list === undefined ? [] : [{ authority, list }])),
    problems: found.flatMap(({ authority, list }) => {
      const fault = faultOf(list, now);
      const rule = `lists of what each authority in ${options.pathOf('ca')} has revoked`;
      return fault === undefined
        ? []
        : [{ path: options.pathOf('crl'), expected: `${rule}; that of ${subjectOf(authority)} ${fault}` }];
    }),
  };
}

function latest(lists: readonly RevocationList[], authority: X509Certificate): RevocationList | undefined {
  const own = lists.filter((list) => isListOf(list, authority));
  return own.sort((one, other) => other.thisUpdate.getTime() - one.thisUpdate.getTime())[0];
}

function faultOf(list: RevocationList | undefined, now: Date): string | undefined {
  if (list === undefined) return 'is missing';
  if (list.thisUpdate > now) return `begins on ${list.thisUpdate.toISOString()}`;
  return list.nextUpdate !== undefined && list.nextUpdate <= now
    ? `has expired on ${list.nextUpdate.toISOString()}`
    : undefined;
}

function untrusted(leaf: X509Certificate, between: readonly X509Certificate[], ca: string): string {
  const top = between.at(-1) ?? leaf;
  return `a certificate that leads to an authority in ${ca}; ${subjectOf(top)} was issued by ${issuerOf(top)}`;
}

function dated(one: X509Certificate, now: Date): string[] {
  if (validTo(one) <= now) return [`a certificate that has not expired; ${subjectOf(one)} ended on ${one.validTo}`];
  if (validFrom(one) > now)
    return [`a certificate that is valid already; ${subjectOf(one)} begins on ${one.validFrom}`];
  return [];
}

function noAuthority(one: X509Certificate): string {
  return `certificates of authorities; ${subjectOf(one)} is none`;
}
