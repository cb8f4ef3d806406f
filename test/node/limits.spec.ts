import { createServer, type AddressInfo } from 'node:net';
import { describe, expect, it } from 'vitest';
import { FrameType } from '../../lib/protocol/frame.js';
import { MsgpackrCodec } from '../../lib/protocol/msgpack/msgpackr.codec.js';
import { Cluster, DRIVERS, twoNodes } from '../support/cluster.js';
import { bytesOf, RawPeer } from '../support/raw-peer.js';

const LIMIT = 2048;
const B = 'b@127.0.0.1';

describe.each(DRIVERS)('a message above the limit, over %s', (driver) => {
  it('is refused by its sender, and the connection lives', async () => {
    await using nodes = await twoNodes({ driver, options: { maxMessageBytes: LIMIT } });
    const large = nodes.a.call(B, 'math', 'echo', ['x'.repeat(LIMIT)]);
    await expect(large).rejects.toMatchObject({ code: 'message_too_large', maybeExecuted: false });
    expect(() => nodes.a.cast(B, 'math', 'echo', ['x'.repeat(LIMIT)])).toThrow(/2048 are allowed/);
    await expect(nodes.a.call(B, 'math', 'echo', ['x'.repeat(LIMIT - 10)])).resolves.toHaveLength(LIMIT - 10);
    expect(nodes.a.stats().counts.connected).toBe(1);
  });

  it('is an error where it is a reply', async () => {
    await using nodes = await twoNodes({ driver, options: { maxMessageBytes: LIMIT } });
    nodes.b.register('large', { make: () => Buffer.alloc(LIMIT + 1) });
    await expect(nodes.a.call(B, 'large', 'make')).rejects.toMatchObject({ code: 'message_too_large' });
    await expect(nodes.a.call(B, 'math', 'add', [1, 2])).resolves.toBe(3);
  });

  it('is refused by the smaller of both limits', async () => {
    await using nodes = await twoNodes({ driver });
    await nodes.start('small', { maxMessageBytes: LIMIT });
    const large = nodes.a.call('small@127.0.0.1', 'math', 'echo', ['x'.repeat(LIMIT)]);
    await expect(large).rejects.toMatchObject({ code: 'message_too_large', maybeExecuted: false });
  });
});

describe('a peer that ignores the limit', () => {
  it('has that call refused, and goes on', async () => {
    await using nodes = await twoNodes({ options: { maxMessageBytes: LIMIT } });
    const port = nodes.discovery.locations.get(B)?.port ?? 0;
    const peer = await (await RawPeer.dial('tcp', port)).login('raw@127.0.0.1', B);
    const name = { module: 'math', fn: 'echo', version: '' };
    const call = (id: number, value: string) => {
      const payload = { kind: 'codec', bytes: new MsgpackrCodec().encode([value]) } as const;
      return { type: FrameType.Call, id, name, timeoutMs: 1000, single: false, headers: undefined, payload };
    };
    peer.send(bytesOf(call(1, 'x'.repeat(LIMIT)), call(2, 'y')));
    await peer.until(() => peer.frames.length === 2);
    expect(peer.frames).toMatchObject([
      { type: FrameType.Error, id: 1, code: 'message_too_large' },
      { type: FrameType.Result, id: 2 },
    ]);
    peer.destroy();
    await peer.closed();
  });
});

describe('a node whose port is taken', () => {
  it('listens when it is free and the node tries again', async () => {
    await using cluster = new Cluster();
    const other = createServer();
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
    const { port } = other.address() as AddressInfo;
    const node = cluster.create('late', { listen: { port } });
    await expect(node.listen()).rejects.toMatchObject({ code: 'EADDRINUSE' });
    await new Promise((resolve) => other.close(resolve));
    await expect(node.listen()).resolves.toMatchObject({ port });
  });
});
