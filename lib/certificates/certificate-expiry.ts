/** How long certificates and lists of revoked ones are good for, and when somebody should know. */
import type { X509Certificate } from 'node:crypto';
import { subjectOf, validTo } from './certificate-chain.js';
import type { CertificateDraft } from './certificate-draft.js';
import type { ListInUse } from './credential-rules.js';

export const DAY_MS = 86_400_000;

/** Lists live for hours or for months: they should be replaced long before this part of it is left. */
const LIST_WARNING = 1 / 4;

/** Whole days until the first of these certificates ends; below 0 when it has. */
export function daysLeft({ certificates }: CertificateDraft, now: Date): number {
  return Math.min(...certificates.map((one) => daysUntil(validTo(one), now)));
}

/** What should be replaced soon, or should have been. @param days before the end of a certificate */
export function warningsOf({ certificates, lists }: CertificateDraft, now: Date, days: number): string[] {
  const ending = [...new Map(certificates.map((one) => [one.fingerprint256, one])).values()].filter((one) => {
    return daysUntil(validTo(one), now) <= days;
  });
  const old = lists.filter(({ list }) => isOld(list, now));
  return [...ending.map((one) => certificateLine(one, now)), ...new Set(old.map((one) => listLine(one, now)))];
}

function isOld({ thisUpdate, nextUpdate }: ListInUse['list'], now: Date): boolean {
  if (nextUpdate === undefined) return false;
  const life = nextUpdate.getTime() - thisUpdate.getTime();
  return nextUpdate.getTime() - now.getTime() < life * LIST_WARNING;
}

function certificateLine(one: X509Certificate, now: Date): string {
  return `the certificate of ${subjectOf(one)} ${whenOf(validTo(one), now)}`;
}

function listLine({ authority, list: { nextUpdate = new Date(0) } }: ListInUse, now: Date): string {
  const effect = 'without a newer one, no certificate of it is believed';
  return `the list of what ${subjectOf(authority)} has revoked ${whenOf(nextUpdate, now)}: ${effect}`;
}

function whenOf(end: Date, now: Date): string {
  const days = daysUntil(end, now);
  return `${days < 0 ? 'has expired' : `expires in ${days} days`}, on ${end.toISOString()}`;
}

function daysUntil(end: Date, now: Date): number {
  return Math.floor((end.getTime() - now.getTime()) / DAY_MS);
}
