/** PINGs and PONGs of one connection: how long an answer takes, and how many of them are too many. */
import type { Clock } from '../ports/clock.js';
import { FrameType, type PingFrame, type PongFrame } from '../protocol/frame.js';
import { violation } from '../protocol/violation.js';

/**
 * A peer that keeps the rules asks every 20 ms at most, and has 1,000 questions open at most (`keepalive.count`). They
 * may all come at once, where this process stood still meanwhile.
 */
const PER_SECOND = 100;
const AT_ONCE = 1000;

/** The stream of frames that answers and questions are written to. */
export interface PingStream {
  /** Where the next frame will begin. */
  readonly position: number;
  /** Has what stands there left for the peer? */
  hasWritten(position: number): boolean;
  send(frame: PingFrame | PongFrame): void;
}

export class PingGuard {
  private readonly pings: Allowance;
  private readonly strayPongs: Allowance;
  /** Where those answers stand in the stream that may not have left yet, from `firstWaiting` on. */
  private waiting: number[] = [];
  private firstWaiting = 0;
  private readonly questions: { readonly askedAt: number; readonly onAnswer: (() => void) | undefined }[] = [];

  constructor(
    private readonly clock: Clock,
    private readonly stream: PingStream,
  ) {
    this.pings = new Allowance(clock);
    this.strayPongs = new Allowance(clock);
  }

  /**
   * A PING came: answers it.
   * @throws GenRpcError `protocol_error` where they are too many, or a thousand answers are waiting to leave.
   */
  onPing(): void {
    if (!this.pings.take()) throw violation('ping_flood', 'The peer sent a flood of PINGs.');
    this.forgetWritten();
    if (this.waiting.length - this.firstWaiting >= AT_ONCE) {
      throw violation('ping_flood', 'The peer sends PINGs, and does not take the answers.');
    }
    this.waiting.push(this.stream.position);
    this.stream.send({ type: FrameType.Pong });
  }

  /** Sends a PING; `onAnswer` runs once it is answered. */
  ask(onAnswer?: () => void): void {
    this.questions.push({ askedAt: this.clock.now(), onAnswer });
    this.stream.send({ type: FrameType.Ping });
  }

  /**
   * A PONG came. Returns how many ms the answer took; what nobody asked for is passed over.
   * @throws GenRpcError `protocol_error` where there is too much of that.
   */
  onPong(): number | undefined {
    const question = this.questions.shift();
    if (question !== undefined) {
      question.onAnswer?.();
      return this.clock.now() - question.askedAt;
    }
    if (!this.strayPongs.take()) throw violation('ping_flood', 'The peer sent a flood of PONGs.');
    return undefined;
  }

  private forgetWritten(): void {
    const { waiting, stream } = this;
    while (this.firstWaiting < waiting.length && stream.hasWritten(waiting[this.firstWaiting] ?? 0)) {
      this.firstWaiting += 1;
    }
    if (this.firstWaiting < AT_ONCE && this.firstWaiting < waiting.length) return;
    this.waiting = waiting.slice(this.firstWaiting);
    this.firstWaiting = 0;
  }
}

/** So many at once, and so many a second from then on. */
class Allowance {
  private left = AT_ONCE;
  private countedAt: number;

  constructor(private readonly clock: Clock) {
    this.countedAt = clock.now();
  }

  take(): boolean {
    const now = this.clock.now();
    this.left = Math.min(AT_ONCE, this.left + ((now - this.countedAt) * PER_SECOND) / 1000);
    this.countedAt = now;
    if (this.left < 1) return false;
    this.left -= 1;
    return true;
  }
}
