/** W-02: sums of bytes beyond what 32 bits, or a double, hold: credit is a balance, never a sum. */
import { describe, expect, it } from 'vitest';
import { Credit, Window } from '../../lib/connection/credit.js';
import { FrameWriter } from '../../lib/connection/frame-writer.js';
import type { Channel } from '../../lib/driver/driver.js';
import { FrameType, MAX_CREDIT, type Frame } from '../../lib/protocol/frame.js';
import { FrameEncoder } from '../../lib/protocol/frame-encoder.js';
import { framesIn } from '../support/frames.js';
import { HandClock } from '../support/hand.js';
import { bytesOf } from '../support/raw-peer.js';

const GiB = 1024 ** 3;

describe('W-02 credit', () => {
  it('W-02 is exact after 2^53 bytes and more', () => {
    const credit = new Credit(1000);
    const step = GiB + 1;
    for (let round = 0; round < 2 ** 23 + 5; round += 1) {
      credit.grant(step);
      credit.spend(step);
    }
    expect(credit.left).toBe(1000);
    credit.grant(MAX_CREDIT - 1000);
    expect(credit.left).toBe(MAX_CREDIT);
    expect(() => credit.grant(1)).toThrow(expect.objectContaining({ details: { violation: 'fc_violation' } }));
  });

  it('W-02 is given back to the byte after 2^53 bytes and more', () => {
    const window = new Window(1000);
    window.grow(MAX_CREDIT);
    expect(window.claim()).toBe(MAX_CREDIT - 1000);
    const step = GiB + 1;
    let granted = 0;
    for (let round = 0; round < 2 ** 23 + 5; round += 1) {
      expectTrue(window.take(step));
      if (window.free(step)) granted = window.claim();
    }
    expect(granted).toBe(step);
    expect(window.take(MAX_CREDIT)).toBe(true);
    expect(window.take(1)).toBe(false);
  });

  it('W-02 may be overdrawn far below zero by one item, and comes back', () => {
    const credit = new Credit(1);
    credit.spend(4 * GiB);
    expect(credit.left).toBe(1 - 4 * GiB);
    credit.grant(2 ** 31 - 1);
    credit.grant(2 ** 31 - 1);
    credit.grant(2);
    expect(credit.left).toBe(1);
  });

  it.each([2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1])('W-02 of %i bytes is on the wire what it is', (bytes) => {
    const frame: Frame = { type: FrameType.Credit, id: 0xffffffff, connection: bytes, stream: bytes };
    expect(framesIn(bytesOf(frame))).toEqual([frame]);
  });
});

/** Kept out of the loop above: `expect` costs a hundred times what is tested. */
function expectTrue(value: boolean): void {
  if (!value) throw new Error('there was credit');
}

describe('W-02 places in the stream of a connection', () => {
  it('W-02 are exact beyond 2^31 and 2^32 bytes, and so is what has left', () => {
    let queuedBytes = 0;
    let taken = 0;
    const channel: Channel = {
      channelBinding: new Uint8Array(32),
      certificate: undefined,
      remoteAddress: '127.0.0.1',
      get queuedBytes() {
        return queuedBytes;
      },
      open() {},
      close() {},
      abort() {},
      keepAlive() {},
      send: (chunks) => {
        for (const { length } of chunks) taken += length;
        return true;
      },
    };
    const settings = { sendTimeout: 1000, batching: { frames: 16, bytes: 1024, growth: 1 } };
    const writer = new FrameWriter(channel, new FrameEncoder(), new HandClock(), settings, () => {});
    const payload = { kind: 'raw', bytes: Buffer.alloc(64 * 1024 * 1024) } as const;
    const beyond: number[] = [];
    for (let id = 1; taken < 4.5 * GiB; id += 1) {
      const mark = { position: 0 };
      const before = writer.position;
      writer.onCredit({ type: FrameType.Credit, id: 0, connection: payload.bytes.length, stream: 0 });
      writer.send({ type: FrameType.Result, id, payload }, mark);
      expect(mark.position).toBe(before);
      if (before > 2 ** 32) beyond.push(before);
    }
    writer.flush();
    expect(writer.position).toBe(taken);
    expect(beyond.length).toBeGreaterThan(5);
    expect([writer.written, writer.hasWritten(taken - 1), writer.hasWritten(taken)]).toEqual([taken, true, false]);
    queuedBytes = 2 ** 31 + 1;
    expect([writer.written, writer.hasWritten(taken - 2 ** 31 - 2), writer.hasWritten(taken - 2 ** 31 - 1)]).toEqual([
      ...[taken - 2 ** 31 - 1, true, false],
    ]);
    writer.stop();
  });
});
