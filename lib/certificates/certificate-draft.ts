/** What is in the options and their files at one moment, judged: all that is wrong with it, or what can be used. */
import type { X509Certificate } from 'node:crypto';
import { createSecureContext } from 'node:tls';
import type { Calendar } from '../ports/calendar.js';
import type { Files } from '../ports/files.js';
import { readCredentials, type ReadCredentials } from './credential-files.js';
import { roleOptionsOf, type CredentialOptions, type CredentialProblem } from './credential-options.js';
import { judge, type CredentialRules, type Judgement, type ListInUse } from './credential-rules.js';
import type { TlsMaterial, TlsRole } from './credentials.js';

export interface DraftParts {
  readonly node: string;
  readonly options: CredentialOptions;
  /** What this node is: `client` alone where it does not accept connections over TLS. */
  readonly roles: readonly TlsRole[];
  /** Why a certificate does not speak for the node; `undefined`: it does. */
  readonly mismatch: (certificate: X509Certificate) => string | undefined;
  readonly calendar: Calendar;
  readonly files: Files;
}

export interface CertificateDraft {
  /** Empty: it can be used. */
  readonly problems: readonly CredentialProblem[];
  readonly materials: ReadonlyMap<TlsRole, TlsMaterial>;
  /** The node's own, and those of the authorities above them. */
  readonly certificates: readonly X509Certificate[];
  readonly lists: readonly ListInUse[];
}

export function draftOf({ options, roles, files, node, calendar, mismatch }: DraftParts): CertificateDraft {
  const read = roles.map((role) => readCredentials(roleOptionsOf(options, role), files, node));
  const authorities = read.flatMap((one) => one.authorities);
  const rules = { mismatch, authorities, now: calendar() };
  const judged = read.map((one) => judgement(one, rules));
  const found = [...read, ...judged].flatMap(({ problems }) => problems);
  const problems = [...new Map(found.map((problem) => [lineOf(problem), problem])).values()];
  return {
    problems: problems.length > 0 ? problems : read.flatMap(unusable),
    materials: new Map(read.map((one) => [one.options.role, materialOf(one)])),
    certificates: judged.flatMap(({ chain }) => chain ?? []),
    lists: judged.flatMap(({ lists }) => lists),
  };
}

/** One line, for the log. */
export function lineOf({ path, expected, got }: CredentialProblem): string {
  return `${path}: expected ${expected}${got === undefined ? '' : `, got ${got}`}`;
}

/** Certificates of kinds that Node does not know throw when they are looked at. */
function judgement(read: ReadCredentials, rules: CredentialRules): Judgement {
  try {
    return judge(read, rules);
  } catch (cause) {
    const expected = `certificates of a kind that Node knows (${(cause as Error).message})`;
    return { chain: undefined, lists: [], problems: [{ path: read.options.pathOf('cert'), expected }] };
  }
}

/** What only OpenSSL knows: keys that it finds too short, say. */
function unusable(read: ReadCredentials): CredentialProblem[] {
  try {
    const { ca, crl, ...rest } = materialOf(read);
    createSecureContext({ ...rest, ca: [...ca], crl: crl === undefined ? undefined : [...crl] });
    return [];
  } catch (cause) {
    const expected = `certificates that OpenSSL can use as a ${read.options.role}: ${(cause as Error).message}`;
    return [{ path: read.options.pathOf('cert'), expected }];
  }
}

function materialOf({ texts, options }: ReadCredentials): TlsMaterial {
  const { ca, cert, key, crl } = texts;
  return {
    ...{ ca, cert: cert.join('\n'), key: key.join('\n'), passphrase: options.given.passphrase },
    crl: crl.length === 0 ? undefined : crl,
  };
}
