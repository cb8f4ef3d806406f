/** The options of TLS, checked as far as that can be without a look at the certificates. */
import { check, isRecord, withoutUndefined } from '../options/check-options.js';
import type { Problem } from '../options/config-error.js';
import { DEFAULT_TLS, TlsCredentialOptions, TlsOptions } from './tls-options.js';

export type ResolvedTls = TlsOptions & Required<Pick<TlsOptions, keyof typeof DEFAULT_TLS>>;

export function resolveTls(given: TlsOptions | undefined): ResolvedTls | undefined {
  return given === undefined ? undefined : { ...DEFAULT_TLS, ...withoutUndefined(given) };
}

export function tlsProblems(given: unknown): Problem[] {
  if (given === undefined) return [];
  if (!isRecord(given)) return [{ path: 'tls', expected: 'an object with at least ca, cert and key' }];
  const roles = (['server', 'client'] as const).flatMap((role) => {
    return given[role] === undefined ? [] : withoutValue(check(TlsCredentialOptions, given[role], `tls.${role}`));
  });
  return [...environmentProblems(), ...check(TlsOptions, given, 'tls'), ...roles];
}

/** Whoever sets it believes that nothing is checked. It has no effect here, and must not seem to have one. */
function environmentProblems(): Problem[] {
  if (process.env['NODE_TLS_REJECT_UNAUTHORIZED'] !== '0') return [];
  const expected = 'an environment without NODE_TLS_REJECT_UNAUTHORIZED=0: peers are always verified';
  return [{ path: 'tls', expected }];
}

/** What is no object may be a key. */
function withoutValue(problems: Problem[]): Problem[] {
  return problems.map((problem) => ({ path: problem.path, expected: problem.expected }));
}
