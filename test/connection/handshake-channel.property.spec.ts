/** What a stranger can make a node keep, whatever bytes come. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { HandshakeChannel } from '../../lib/connection/handshake-channel.js';
import type { Channel, ChannelEvents } from '../../lib/driver/driver.js';
import { GenRpcError, isGenRpcError } from '../../lib/protocol/errors.js';
import { handshakeFrame, HandshakeType } from '../../lib/protocol/handshake-frames.js';
import { VirtualClock } from '../../lib/testing/virtual-clock.js';

/** Most bytes of a stranger. */
const CAP = 2048;
const TYPES = Object.values(HandshakeType);

/** `ok`, or the code of what it failed with. */
function codeOf(outcome: Promise<unknown>): Promise<string> {
  return outcome.then(
    () => 'ok',
    (error: unknown) => (isGenRpcError(error) ? error.code : String(error)),
  );
}

describe('a channel before authentication', () => {
  /** A wire whose bytes a test makes up. */
  class Wire implements Channel {
    readonly channelBinding = new Uint8Array(32);
    readonly certificate = undefined;
    readonly remoteAddress = 'nowhere';
    readonly queuedBytes = 0;
    events: ChannelEvents | undefined;
    ended: GenRpcError | undefined;
    open(events: ChannelEvents): void {
      this.events = events;
    }
    send(): boolean {
      return true;
    }
    close(): void {
      this.ended ??= new GenRpcError('connection_lost');
    }
    abort(reason: GenRpcError): void {
      this.ended ??= reason;
    }
    keepAlive(): void {}
  }

  const header = fc.constantFrom(...TYPES).map((type) => handshakeFrame(type, Buffer.alloc(0)));
  const chunk = fc.oneof(
    fc.uint8Array({ maxLength: 40 }),
    fc.tuple(fc.nat({ max: 400 }), fc.nat({ max: 255 })).map(([length, fill]) => Buffer.alloc(length, fill)),
    header,
    fc.constant(Buffer.concat([Buffer.of(0, 0, 4, 0, 1), Buffer.alloc(7)])),
  );

  it('gives up with protocol_error, and keeps no more than its cap of whatever comes', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(chunk, { maxLength: 40, size: 'max' }), fc.boolean(), async (chunks, awaited) => {
        const wire = new Wire();
        const clock = new VirtualClock();
        const talk = new HandshakeChannel(wire, clock, 1000);
        const outcome = awaited ? codeOf(talk.receive(HandshakeType.ClientHello)) : undefined;
        let came = 0;
        for (const part of chunks) {
          came += part.length;
          wire.events?.data(Buffer.from(part));
        }
        const kept = talk.finish().length;
        expect(kept).toBeLessThanOrEqual(CAP);
        expect(kept).toBeLessThanOrEqual(came);
        if (came > CAP) expect(wire.ended?.code).toBe('protocol_error');
        if (wire.ended !== undefined) expect(wire.ended.code).toBe('protocol_error');
        wire.events?.closed(new GenRpcError('connection_lost'));
        if (outcome !== undefined) expect(['ok', 'protocol_error', 'connection_lost']).toContain(await outcome);
        expect(clock.pending).toBe(0);
      }),
      { numRuns: 500 },
    );
  });
});
