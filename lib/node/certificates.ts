/** What a node proves itself with over TLS, from its options, or one error that names every problem. */
import type { Journal } from '../connection/journal.js';
import { CertificateFiles, type CertificateEvents } from '../certificates/certificate-files.js';
import { nameMismatch } from '../certificates/certificate-names.js';
import type { TlsRole } from '../certificates/credentials.js';
import type { Calendar } from '../ports/calendar.js';
import type { Clock } from '../ports/clock.js';
import type { Files } from '../ports/files.js';
import type { Log } from '../ports/log.js';
import type { ProcessSignals } from '../ports/process-signals.js';
import { GenRpcConfigError } from '../options/config-error.js';
import type { ResolvedOptions } from './resolve-options.js';
import type { ResolvedTls } from './resolve-tls.js';

export interface CertificatePorts {
  readonly clock: Clock;
  readonly calendar: Calendar;
  readonly files: Files;
  readonly signals: ProcessSignals;
  readonly journal: Journal;
  readonly log: Log;
}

/** @throws GenRpcConfigError; `where` names the call that got the options. */
export function certificatesOf(
  options: ResolvedOptions,
  tls: ResolvedTls,
  where: string,
  { journal, log, ...ports }: CertificatePorts,
): CertificateFiles {
  const { name: node } = options;
  const found = CertificateFiles.load({
    ...ports,
    ...{ node, options: tls, roles: rolesOf(options) },
    mismatch: (certificate) => nameMismatch(certificate, node, tls),
    expiryWarning: tls.expiryWarning,
    reloadSignal: tls.reloadSignal,
    events: eventsOf(journal, log),
  });
  if (found instanceof CertificateFiles) return found;
  throw new GenRpcConfigError(where, found);
}

/** A node that only accepts, or only dials, needs no certificate for the other role. */
function rolesOf({ listen, driver, nodes, discovery }: ResolvedOptions): TlsRole[] {
  const accepts = listen.some((place) => place.driver === 'tls');
  const written = typeof nodes === 'function' || discovery !== undefined ? undefined : [...nodes.values()];
  const dials = driver === 'tls' || (written?.some((place) => place.driver === 'tls') ?? true);
  if (!accepts) return ['client'];
  return dials ? ['server', 'client'] : ['server'];
}

function eventsOf(journal: Journal, log: Log): CertificateEvents {
  return {
    renewed: (message) => {
      journal.count('certificate_renewed');
      log.info(message);
    },
    refused: (message) => journal.note('certificate_not_renewed', () => message),
    expiring: (message) => journal.note('certificate_expiring', () => message),
    unwatched: (message, cause) => journal.note('certificate_unwatched', () => message, cause),
  };
}

/** @throws GenRpcConfigError naming every problem of the new ones. */
export function reload(certificates: CertificateFiles | undefined): void {
  const problems = certificates?.reload() ?? [{ path: 'tls', expected: 'certificates, and there are none' }];
  if (problems.length > 0) throw new GenRpcConfigError('reloadCertificates()', problems);
}
