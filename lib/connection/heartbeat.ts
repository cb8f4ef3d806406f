/** Finds out that a peer is dead: the kernel does not tell while data is in flight, nor after a break of the network. */
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

export class Heartbeat {
  private timer: Timer | undefined;
  private heardAt = 0;
  private unanswered = 0;

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
    this.stop();
    this.arm(this.settings.idle, () => this.onTimer());
  }

  stop(): void {
    this.timer?.cancel();
  }

  private arm(ms: number, run: () => void): void {
    this.timer = this.clock.after(ms, run);
  }

  private onTimer(): void {
    const { idle, interval, count } = this.settings;
    const silentMs = this.clock.now() - this.heardAt;
    if (silentMs < idle) return this.arm(idle - silentMs, () => this.onTimer());
    // Where this process itself stood still, what the peer sent meanwhile has to be read before it is judged.
    if (this.unanswered >= count) return this.arm(0, () => this.events.dead(this.clock.now() - this.heardAt));
    this.unanswered += 1;
    this.events.ask();
    this.arm(interval, () => this.onTimer());
  }
}
