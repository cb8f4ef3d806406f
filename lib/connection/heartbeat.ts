/** Finds out that a peer is dead: the kernel does not tell while data is in flight, nor after a break of the network. */
import { GenRpcError } from '../protocol/errors.js';
import type { Clock, Timer } from '../ports/clock.js';

export interface HeartbeatSettings {
  /** ms without a byte from the peer, after which it is asked whether it is there. */
  readonly idle: number;
  /** ms that it has for an answer. */
  readonly interval: number;
  /** Questions without an answer, after which it is dead. */
  readonly count: number;
}

export interface HeartbeatEvents {
  ask(): void;
  dead(silentMs: number): void;
}

/** Nobody asks more often than this, whatever the settings say: a peer knows a flood by it (`PingGuard`). */
const LEAST_WAIT_MS = 20;
/** A peer cannot make this side ask more often than this. */
const LEAST_WISH_MS = 100;

/**
 * What this side does, given what the peer said of itself: if both ask, both ask after the shorter time, so that
 * neither goes on for long with a connection that the other has given up.
 *
 * @param peerIdle ms of silence after which the peer asks; 0: it does not.
 */
export function agreedKeepalive(own: HeartbeatSettings | undefined, peerIdle: number): HeartbeatSettings | undefined {
  if (own === undefined) return undefined;
  const wish = peerIdle === 0 ? Infinity : Math.max(peerIdle, LEAST_WISH_MS);
  return {
    idle: Math.max(Math.min(own.idle, wish), LEAST_WAIT_MS),
    interval: Math.max(own.interval, LEAST_WAIT_MS),
    count: own.count,
  };
}

/** How a connection ends whose peer is dead. */
export function silence(node: string, ms: number): GenRpcError {
  return new GenRpcError('connection_lost', `${node} has sent nothing for ${Math.round(ms)} ms, and answers no ping.`);
}

export class Heartbeat {
  private timer: Timer | undefined;
  private heardAt = 0;
  private dueAt = 0;
  private unanswered = 0;
  /** Was the peer asked anew because this process stood still? */
  private askedAnew = false;

  constructor(
    private readonly clock: Clock,
    private readonly settings: HeartbeatSettings,
    private readonly events: HeartbeatEvents,
  ) {}

  start(): void {
    this.heard();
    this.arm(this.settings.idle, () => this.onTimer());
  }

  /** Bytes came, whatever they say. */
  heard(): void {
    this.heardAt = this.clock.now();
    if (this.unanswered === 0) return;
    // The interval of the question that this answers may be longer than the time until the next one.
    this.unanswered = 0;
    this.askedAnew = false;
    this.stop();
    this.arm(this.settings.idle, () => this.onTimer());
  }

  stop(): void {
    this.timer?.cancel();
  }

  private arm(ms: number, run: () => void): void {
    this.dueAt = this.clock.now() + ms;
    this.timer = this.clock.after(ms, run);
  }

  private onTimer(): void {
    const { idle, count } = this.settings;
    const silentMs = this.clock.now() - this.heardAt;
    if (silentMs < idle) return this.arm(idle - silentMs, () => this.onTimer());
    if (this.unanswered < count || this.stoodStill()) return this.ask();
    // Where this process itself stood still, what the peer sent meanwhile has to be read before it is judged.
    this.arm(0, () => this.events.dead(this.clock.now() - this.heardAt));
  }

  private ask(): void {
    this.unanswered += 1;
    this.events.ask();
    this.arm(this.settings.interval, () => this.onTimer());
  }

  /** A machine that was asleep may have lost the answer, or never sent the question: it asks once more. */
  private stoodStill(): boolean {
    const lateMs = this.clock.now() - this.dueAt;
    if (this.askedAnew || lateMs <= this.settings.interval / 2) return false;
    this.askedAnew = true;
    return true;
  }
}
