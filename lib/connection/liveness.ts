/** Is the peer still there? Asks when it is silent, and answers when it asks. */
import type { GenRpcError } from '../protocol/errors.js';
import type { Clock } from '../ports/clock.js';
import { Heartbeat, silence, type HeartbeatSettings } from './heartbeat.js';
import { PingGuard, type PingStream } from './ping-guard.js';

/** What it goes by: the stream that questions are written to. */
export interface LivenessStream extends PingStream {
  /** Bytes that have left since the beginning. */
  readonly written: number;
}

export class Liveness {
  private readonly pings: PingGuard;
  private readonly heartbeat: Heartbeat | undefined;
  /** Where the last question stands in the stream, and what had left when it was sent. */
  private question = { position: 0, written: 0 };

  /** @param settings `undefined`: answers, but does not ask */
  constructor(
    clock: Clock,
    settings: HeartbeatSettings | undefined,
    private readonly node: string,
    private readonly stream: LivenessStream,
    private readonly onDead: (reason: GenRpcError) => void,
  ) {
    this.pings = new PingGuard(clock, stream);
    if (settings === undefined) return;
    this.heartbeat = new Heartbeat(clock, settings, { ask: () => this.ask(), dead: (ms) => this.judge(ms) });
  }

  start(): void {
    this.heartbeat?.start();
  }

  /** Bytes came, whatever they say. */
  heard(): void {
    this.heartbeat?.heard();
  }

  stop(): void {
    this.heartbeat?.stop();
  }

  /** Runs `then` once the peer has seen everything that was sent before; never, if it does not answer. */
  ping(then?: () => void): void {
    this.pings.ask(then);
  }

  /** @throws GenRpcError `protocol_error` where they are too many. */
  onPing(): void {
    this.pings.onPing();
  }

  /** Returns how many ms an answer took. @throws GenRpcError `protocol_error` where they are too many. */
  onPong(): number | undefined {
    return this.pings.onPong();
  }

  private ask(): void {
    this.question = { position: this.stream.position, written: this.stream.written };
    this.ping();
  }

  /** A peer that takes what stands in front of the question is not dead: it has not come to it. */
  private judge(silentMs: number): void {
    const { position, written } = this.question;
    const onItsWay = !this.stream.hasWritten(position) && this.stream.written > written;
    if (onItsWay) this.heard();
    else this.onDead(silence(this.node, silentMs));
  }
}
