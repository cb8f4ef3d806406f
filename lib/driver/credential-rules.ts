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

export interface CredentialRules {
  /** Why a certificate does not speak for the node that shows it; `undefined`: it does. */
  readonly mismatch: (certificate: X509Certificate) => string | undefined;
  readonly now: Date;
  /** Who may have issued it: a node may show a certificate of one authority and trust another, but both are its own. */
  readonly authorities: readonly X509Certificate[];
}

export interface Judgement {
  /** `undefined`: there is none, and `problems` says why. */
  readonly chain: CertificateChain | undefined;
  readonly problems: readonly CredentialProblem[];
}

export function judge(read: ReadCredentials, rules: CredentialRules): Judgement {
  const [leaf, ...between] = read.own;
  if (leaf === undefined) return { chain: undefined, problems: [] };
  const chain = chainOf(leaf, between, rules.authorities);
  const { role, pathOf } = read.options;
  const path = pathOf('cert');
  const mismatch = rules.mismatch(leaf);
  const expectations = [
    ...(chain === undefined && rules.authorities.length > 0 ? [untrusted(leaf, between, pathOf('ca'))] : []),
    ...(chain ?? [leaf]).flatMap((one) => dated(one, rules.now)),
    ...(hasUsage(leaf, role) ? [] : [`a certificate whose extended key usage allows ${role}Auth`]),
    ...(mismatch === undefined ? [] : [`a certificate of this node; ${mismatch}`]),
  ];
  return {
    chain,
    problems: [
      ...expectations.map((expected) => ({ path, expected })),
      ...(read.key === undefined || leaf.checkPrivateKey(read.key)
        ? []
        : [{ path: pathOf('key'), expected: `the key of the certificate in ${path} (${subjectOf(leaf)})` }]),
      ...read.authorities.filter((one) => !one.ca).map((one) => ({ path: pathOf('ca'), expected: noAuthority(one) })),
    ],
  };
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
