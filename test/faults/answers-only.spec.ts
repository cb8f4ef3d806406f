/** A process that only answers looks for no current call; from the first call that it makes, it does. In a file, and so in a process, of its own. */
import { expect, it } from 'vitest';
import { FrameType, type CallFrame, type Frame } from '../../lib/protocol/frame.js';
import { MsgpackrCodec } from '../../lib/protocol/msgpack/msgpackr.codec.js';
import { encodePayload } from '../../lib/protocol/payload.js';
import { currentCalls } from '../../lib/server/current-call.js';
import { Cluster } from '../support/cluster.js';
import { portOf, until } from '../support/door.js';
import { bytesOf, RawPeer } from '../support/raw-peer.js';

const ANSWERS = 10_000;
const payload = encodePayload(new MsgpackrCodec(), []);

function callOf(id: number, fn: string): CallFrame {
  const name = { module: 'b', fn, version: '' };
  return { type: FrameType.Call, id, name, timeoutMs: 5_000, single: false, headers: undefined, payload };
}

it('T-04 calls are bound after any number of answers', async () => {
  await using cluster = new Cluster({ driver: 'tcp' });
  const [b, c] = [await cluster.start('b'), await cluster.start('c')];
  const left: number[] = [];
  const inside: boolean[] = [];
  c.register('c', { left: (_: unknown, context) => left.push(context.remainingMs()) });
  b.register('b', {
    answer: () => inside.push(currentCalls.isInside),
    relay: async () => {
      await Promise.resolve();
      return b.call(c.name, 'c', 'left');
    },
  });
  const peer = await RawPeer.dial('tcp', portOf(cluster, b.name));
  await peer.login('stranger@127.0.0.1', b.name);
  const answered = (id: number): Promise<void> => {
    return peer.until(() => peer.frames.some((frame: Frame) => frame.type === FrameType.Result && frame.id === id));
  };
  for (let id = 1; id <= ANSWERS + 1; id += 1) peer.send(bytesOf(callOf(id, 'answer')));
  await answered(ANSWERS + 1);
  expect([inside.at(0), inside.at(ANSWERS - 1), inside.at(ANSWERS)]).toEqual([true, true, false]);
  // Nobody could know that this one calls; its own timeout bounds what it calls.
  peer.send(bytesOf(callOf(ANSWERS + 2, 'relay')));
  await until(() => left.length === 1);
  peer.send(bytesOf(callOf(ANSWERS + 3, 'relay')));
  await until(() => left.length === 2);
  expect(left[0]).toBeGreaterThan(10_000);
  expect(left[1]).toBeLessThanOrEqual(5_000);
  await answered(ANSWERS + 3);
  peer.destroy();
});
