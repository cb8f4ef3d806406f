/** MessagePack messages over a socket, their length in front, several to a write. */
import type { Socket } from 'node:net';
import { Packr } from 'msgpackr';

/** The length of the message. */
const HEAD_BYTES = 4;
const SLAB_BYTES = 16 * 1024;
/** The same as in the library: what is compared is everything else. */
const FLUSH_BYTES = 1024;
const FLUSH_FRAMES = 16;

export class FramedSocket {
  private readonly codec = new Packr({ useRecords: false });
  private slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
  private start = 0;
  private end = 0;
  private frames = 0;
  private flushScheduled = false;
  private rest: Buffer = Buffer.alloc(0);
  private readonly onTurnEnd = (): void => {
    this.flushScheduled = false;
    this.flush();
  };

  constructor(
    private readonly socket: Socket,
    private readonly onMessage: (message: unknown) => void,
  ) {
    socket.setNoDelay(true);
    socket.on('data', (bytes: Buffer) => this.onData(bytes));
  }

  send(message: unknown): void {
    const body = this.codec.pack(message);
    const head = this.reserve(HEAD_BYTES + body.length);
    this.slab.writeUInt32BE(body.length, head);
    this.slab.set(body, head + HEAD_BYTES);
    this.frames += 1;
    if (this.end - this.start >= FLUSH_BYTES || this.frames >= FLUSH_FRAMES) return this.flush();
    if (this.flushScheduled) return;
    this.flushScheduled = true;
    process.nextTick(this.onTurnEnd);
  }

  private reserve(length: number): number {
    if (this.end + length > this.slab.length) {
      this.flush();
      this.slab = Buffer.allocUnsafeSlow(Math.max(SLAB_BYTES, length));
      this.start = 0;
      this.end = 0;
    }
    const at = this.end;
    this.end += length;
    return at;
  }

  private flush(): void {
    if (this.end === this.start) return;
    this.socket.write(this.slab.subarray(this.start, this.end));
    this.start = this.end;
    this.frames = 0;
  }

  private onData(bytes: Buffer): void {
    const buffer = this.rest.length === 0 ? bytes : Buffer.concat([this.rest, bytes]);
    let at = 0;
    while (buffer.length - at >= HEAD_BYTES) {
      const start = at + HEAD_BYTES;
      const end = start + buffer.readUInt32BE(at);
      if (end > buffer.length) break;
      this.onMessage(this.codec.unpack(buffer, { start, end }));
      at = end;
    }
    this.rest = buffer.subarray(at);
  }
}
