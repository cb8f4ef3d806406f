/** Counts what happened, and tells the log at most once a second of each kind. */
import type { Clock } from '../ports/clock.js';
import type { Log } from '../ports/log.js';
import type { GenRpcError } from '../protocol/errors.js';
import { violationOf } from '../protocol/violation.js';

/** Everything that is counted. Names never come from the wire, so there are only these. */
export type Occurrence =
  | 'accepted'
  | 'accept_failed'
  | 'admission_refused'
  | 'auth_failed'
  | 'handshake_failed'
  | 'handshake_timeout'
  | 'peer_auth_failed'
  | 'tls_failed'
  | 'certificate_refused'
  | 'certificate_mismatch'
  | 'peer_certificate_refused'
  | 'peer_certificate_mismatch'
  | 'version_mismatch'
  | 'wrong_node'
  | 'duplicate_node'
  | 'certificate_renewed'
  | 'certificate_not_renewed'
  | 'certificate_expiring'
  | 'certificate_unwatched'
  | 'dialled'
  | 'dial_failed'
  | 'connected'
  | 'connection_lost'
  | 'connection_replaced'
  | 'protocol_error'
  | 'fc_violation'
  | 'credit_flood'
  | 'empty_frame_flood'
  | 'ping_flood'
  | 'late_frames'
  | 'call_refused'
  | 'call_overload'
  | 'cancel_flood'
  | 'call_retried'
  | 'retry_budget_exhausted'
  | 'cast_failed'
  | 'cast_overload'
  | 'cast_not_accepted'
  | 'cast_dropped'
  | 'ordered_cast_missing'
  | 'ordered_cast_late'
  | 'ordered_cast_dropped'
  | 'handler_failed'
  | 'listener_failed'
  | 'discovery_failed'
  | 'discovery_doubted'
  | 'discovery_record_refused'
  | 'discovery_cache_failed'
  | 'node_ejected'
  | 'call_failed_over'
  | 'tracing_failed';

const LOG_EVERY_MS = 1000;

export class Journal {
  private readonly counts = new Map<Occurrence, number>();
  private readonly lastSaid = new Map<Occurrence, { at: number; unsaid: number }>();

  constructor(
    private readonly log: Log,
    private readonly clock: Clock,
  ) {}

  count(kind: Occurrence, times = 1): void {
    if (times > 0) this.counts.set(kind, this.countOf(kind) + times);
  }

  /** Counts, and warns unless this kind has been spoken of within the last second; the next line says how many were not. */
  note(kind: Occurrence, message: () => string, cause?: unknown, times = 1): void {
    this.count(kind, times);
    const now = this.clock.now();
    const last = this.lastSaid.get(kind);
    if (last !== undefined && now - last.at < LOG_EVERY_MS) {
      last.unsaid += 1;
      return;
    }
    const unsaid = last === undefined || last.unsaid === 0 ? '' : ` (and ${last.unsaid} more of this kind)`;
    this.lastSaid.set(kind, { at: now, unsaid: 0 });
    if (cause === undefined) this.log.warn(`${message()}${unsaid}`);
    else this.log.error(`${message()}${unsaid}`, cause);
  }

  /** Counts the end of a connection under the name of what its peer did too often, if that was it. */
  countViolation(reason: GenRpcError): void {
    const kind = violationOf(reason);
    if (kind !== undefined) this.count(kind);
  }

  countOf(kind: Occurrence): number {
    return this.counts.get(kind) ?? 0;
  }

  /** A copy of every count that is not 0. */
  snapshot(): Readonly<Partial<Record<Occurrence, number>>> {
    return Object.fromEntries(this.counts);
  }
}
