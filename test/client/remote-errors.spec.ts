import { describe, expect, it } from 'vitest';
import type { GenRpcErrorCode } from '../../lib/protocol/errors.js';
import { FrameType } from '../../lib/protocol/frame.js';
import { Cluster, twoNodes } from '../support/cluster.js';
import { until } from '../support/door.js';
import { bytesOf, RawPeer, RawServer } from '../support/raw-peer.js';

const B = 'b@127.0.0.1';
const RAW = 'raw@127.0.0.1';

describe('an error that the peer sent', () => {
  it.each<[GenRpcErrorCode, boolean]>([
    ['unauthorized', false],
    ['incompatible', false],
    ['undefined_function', false],
    ['refused', false],
    ['protocol_error', false],
    ['handler_failed', true],
    ['encode_error', true],
    ['message_too_large', true],
    ['shutting_down', true],
  ])('%s says whether the function may have run: %s', async (code, maybeExecuted) => {
    await using cluster = new Cluster();
    await using server = await RawServer.listen('tcp');
    cluster.discovery.locations.set(RAW, { driver: 'tcp', host: '127.0.0.1', port: server.port });
    const reply = cluster.create('a', { listen: false }).call(RAW, 'math', 'add');
    const peer = await (await server.accept()).welcome(RAW);
    await peer.until(() => peer.frames.length > 0);
    peer.send(
      bytesOf({ type: FrameType.Error, id: 1, code, message: '', payload: { kind: 'none', bytes: Buffer.alloc(0) } }),
    );
    await expect(reply).rejects.toMatchObject({ code, maybeExecuted, message: 'math.add failed on raw@127.0.0.1.' });
  });

  it('about a result that is too large admits that the function has run', async () => {
    await using nodes = await twoNodes({ options: { maxMessageBytes: 1024 } });
    let runs = 0;
    nodes.b.register('big', { make: () => Buffer.alloc(1025, (runs += 1)) });
    await expect(nodes.a.call(B, 'big', 'make')).rejects.toMatchObject({
      code: 'message_too_large',
      maybeExecuted: true,
    });
    expect(runs).toBe(1);
    await expect(nodes.a.call(B, 'math', 'echo', [Buffer.alloc(1025)])).rejects.toMatchObject({
      code: 'message_too_large',
      maybeExecuted: false,
    });
  });

  it('about a stream that its reader does not keep up with admits that the function has run', async () => {
    await using nodes = await twoNodes({ options: { maxQueuedBytes: 64 * 1024 } });
    let stopped = false;
    const flood = (observer: { next(value: unknown): void }) => {
      const item = Buffer.alloc(256 * 1024);
      const emit = (): unknown => stopped || (observer.next(item), setImmediate(emit));
      emit();
      return { unsubscribe: () => void (stopped = true) };
    };
    nodes.b.register('flood', { open: () => ({ subscribe: flood }) });
    const peer = await RawPeer.dial('tcp', nodes.discovery.locations.get(B)?.port ?? 0);
    await peer.login(RAW, B);
    const name = { module: 'flood', fn: 'open', version: '' };
    const payload = { kind: 'codec', bytes: Buffer.of(0x90) } as const;
    peer.send(
      bytesOf({ type: FrameType.Call, id: 1, name, timeoutMs: 20_000, single: false, headers: undefined, payload }),
    );
    peer.socket.pause();
    await until(() => stopped);
    peer.socket.resume();
    await peer.until(() => peer.frames.at(-1)?.type === FrameType.Error);
    expect(peer.frames.at(-1)).toMatchObject({
      id: 1,
      code: 'handler_failed',
      message: expect.stringMatching(/stopped/) as string,
    });
    await until(() => nodes.b.stats().runningCalls === 0);
  });
});
