/** A channel while nobody trusts it yet: frame by frame, within one deadline, within a few hundred bytes. */
import type { Channel } from '../driver/driver.js';
import { GenRpcError, isGenRpcError } from '../protocol/errors.js';
import { PROTOCOL_VERSION } from '../protocol/frame.js';
import { encodeReject, handshakeFrame, HandshakeReader, HandshakeType } from '../protocol/handshake-frames.js';
import type { Clock, Timer } from '../ports/clock.js';

type Received = NonNullable<ReturnType<HandshakeReader['next']>>;

/** Most bytes that a peer gets to send before it is authenticated. */
const MAX_BYTES = 2048;

interface Waiting {
  readonly allowed: readonly HandshakeType[];
  resolve(frame: Received): void;
  reject(error: GenRpcError): void;
}

export class HandshakeChannel {
  private readonly reader = new HandshakeReader();
  private readonly timer: Timer;
  private received = 0;
  private unread: Buffer[] = [];
  private waiting: Waiting | undefined;
  private failure: GenRpcError | undefined;

  /** The deadline counts from here; progress does not move it. */
  constructor(
    readonly channel: Channel,
    clock: Clock,
    timeoutMs: number,
  ) {
    this.timer = clock.after(timeoutMs, () => {
      this.stop(new GenRpcError('timeout', `The handshake was not done after ${timeoutMs} ms.`));
    });
    channel.open({
      data: (bytes) => this.onData(Buffer.from(bytes)),
      drain: () => {},
      closed: (reason) => this.stop(reason),
    });
  }

  send(frame: Uint8Array): void {
    this.channel.send([frame]);
  }

  receive(...allowed: readonly HandshakeType[]): Promise<Received> {
    return new Promise((resolve, reject) => {
      if (this.failure !== undefined) return reject(this.failure);
      this.waiting = { allowed, resolve, reject };
      const { unread } = this;
      this.unread = [];
      this.read(Buffer.concat(unread));
    });
  }

  /** Tells the peer why, in a byte, and returns the error to throw. */
  reject(reason: number, error: GenRpcError): GenRpcError {
    const body = encodeReject({ reason, minVersion: PROTOCOL_VERSION, maxVersion: PROTOCOL_VERSION });
    this.failure = error;
    this.timer.cancel();
    this.send(handshakeFrame(HandshakeType.Reject, body));
    this.channel.close();
    return error;
  }

  /** The handshake is done: the channel is its next owner's. Returns what came behind the last frame. */
  finish(): Buffer {
    this.timer.cancel();
    return Buffer.concat([this.reader.rest, ...this.unread]);
  }

  /** The handshake is over, the channel too. Returns the error to throw. */
  fail(cause: unknown): GenRpcError {
    const error = isGenRpcError(cause) ? cause : new GenRpcError('protocol_error', undefined, { cause });
    this.stop(error);
    return error;
  }

  private onData(bytes: Buffer): void {
    this.received += bytes.length;
    if (this.received > MAX_BYTES)
      return this.stop(new GenRpcError('protocol_error', 'A handshake is never this long.'));
    if (this.waiting === undefined) this.unread.push(bytes);
    else this.read(bytes);
  }

  private read(bytes: Buffer): void {
    const { waiting } = this;
    if (waiting === undefined) return;
    try {
      const frame = this.reader.next(bytes, ...waiting.allowed);
      if (frame === undefined) return;
      this.waiting = undefined;
      waiting.resolve(frame);
    } catch (error) {
      this.fail(error);
    }
  }

  private stop(error: GenRpcError): void {
    if (this.failure !== undefined) return;
    this.failure = error;
    this.timer.cancel();
    this.channel.abort(error);
    this.waiting?.reject(error);
    this.waiting = undefined;
  }
}
