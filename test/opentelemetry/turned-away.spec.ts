/** What comes to a node and is not started there has a span all the same: else a trace would show half of it. */
import { SpanKind } from '@opentelemetry/api';
import type { ReadableSpan } from '@opentelemetry/sdk-trace-base';
import { describe, expect, it } from 'vitest';
import type { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import { openTelemetry } from '../../lib/opentelemetry.js';
import { FrameType, type CallFrame, type CastFrame, type Frame } from '../../lib/protocol/frame.js';
import { Cluster, SOCKET_DRIVERS, type NodeSettings, type SocketDriver } from '../support/cluster.js';
import { portOf, until } from '../support/door.js';
import { bytesOf, RawPeer } from '../support/raw-peer.js';
import { isChildOf, Spans, statusOf } from '../support/spans.js';

const B = 'b@127.0.0.1';
const REFUSED = { failed: 'refused', type: 'refused' };
/** Of whoever writes bytes by hand. */
const TRACE = '0af7651916cd43dd8448eb211c80319c';
const HEADERS = new Map([['traceparent', `00-${TRACE}-b7ad6b7169203331-01`]]);

/** `b`, whose `gate.pass` ends when the test opens it, and who calls. */
async function gated(driver: SocketDriver, options: NodeSettings = {}) {
  const cluster = new Cluster({ driver, options: { tracing: openTelemetry() } });
  const b = await cluster.start('b', options);
  const opened: (() => void)[] = [];
  const pass = (): Promise<void> => new Promise((resolve) => opened.push(resolve));
  b.register('gate', { pass, large: () => Buffer.alloc(60_000) });
  const a = cluster.create('a', { listen: false });
  const open = (): void => opened.splice(0).forEach((go) => go());
  return Object.assign(cluster, { a, b, opened, open });
}

function serverSpans(spans: Spans): ReadableSpan[] {
  return spans.ended.filter(({ kind }) => kind === SpanKind.SERVER);
}

async function rawClient(cluster: Cluster, driver: SocketDriver): Promise<RawPeer> {
  return (await RawPeer.dial(driver, portOf(cluster, B))).login('raw@127.0.0.1', B);
}

const payload = { kind: 'codec' as const, bytes: Buffer.of(0x90) };

function callOf(id: number, fn: string, changes: Partial<CallFrame> = {}): CallFrame {
  const name = { module: 'gate', fn, version: '' };
  return { type: FrameType.Call, id, name, timeoutMs: 60_000, single: false, headers: HEADERS, payload, ...changes };
}

function castOf(fn: string, changes: Partial<CastFrame> = {}): CastFrame {
  const name = { module: 'gate', fn, version: '' };
  return { type: FrameType.Cast, name, single: false, order: undefined, headers: HEADERS, payload, ...changes };
}

function errorsOf(frames: readonly Frame[]): unknown[] {
  return frames.flatMap((frame) => (frame.type === FrameType.Error ? [[frame.id, frame.code]] : []));
}

describe.each(SOCKET_DRIVERS)('a call that is refused for its number, over %s', (driver) => {
  it('has a span where it was refused, a child of the one that made it', async () => {
    await using spans = new Spans();
    await using nodes = await gated(driver, { concurrency: { calls: 1 } });
    const first = nodes.a.call(B, 'gate', 'pass');
    await until(() => nodes.opened.length === 1);
    await expect(nodes.a.call(B, 'gate', 'large')).rejects.toMatchObject({ code: 'refused' });
    const client = await spans.one('CLIENT', 'gate/large');
    const server = await spans.one('SERVER', 'gate/large');
    expect(isChildOf(server, client)).toBe(true);
    expect([client, server].map(statusOf)).toEqual([REFUSED, REFUSED]);
    expect(server.attributes).toMatchObject({
      'rpc.system.name': 'gen_rpc',
      'rpc.method': 'gate/large',
      'server.address': '127.0.0.1',
      'client.address': '127.0.0.1',
      'gen_rpc.peer.node': 'a@127.0.0.1',
    });
    expect(JSON.stringify(server.attributes)).not.toContain('Nothing was started');
    nodes.open();
    await first;
    // What was started has one, and not two.
    expect(serverSpans(spans).map(({ name }) => name)).toEqual(['gate/large', 'gate/pass']);
  });

  it('has its name in the span only where there is such a function, and it may be called', async () => {
    await using spans = new Spans();
    await using nodes = await gated(driver, { concurrency: { calls: 1 } });
    const first = nodes.a.call(B, 'gate', 'pass');
    await until(() => nodes.opened.length === 1);
    await expect(nodes.a.call(B, 'gate', 'made-up')).rejects.toMatchObject({ code: 'refused' });
    await expect(nodes.a.call(B, { module: 'gate', version: '^1.0.0' }, 'large')).rejects.toMatchObject({
      code: 'refused',
    });
    nodes.b.setModulePolicy('blacklist', ['gate']);
    await expect(nodes.a.call(B, 'gate', 'large')).rejects.toMatchObject({ code: 'refused' });
    const refused = serverSpans(spans);
    expect(refused.map(({ name }) => name)).toEqual(['gen_rpc', 'gen_rpc', 'gen_rpc']);
    expect(refused.map(({ attributes }) => [attributes['rpc.method'], attributes['rpc.method_original']])).toEqual([
      ['_OTHER', 'gate/made-up'],
      ['_OTHER', 'gate/large'],
      ['_OTHER', 'gate/large'],
    ]);
    expect(refused.map(statusOf)).toEqual([REFUSED, REFUSED, REFUSED]);
    nodes.open();
    await first;
  });
});

describe.each(SOCKET_DRIVERS)('a call that comes to a node which takes none, over %s', (driver) => {
  /** As a client that has been asked to go, and does not. */
  async function staying(cluster: Cluster, b: GenRpcNode): Promise<{ peer: RawPeer; drained: Promise<void> }> {
    const peer = await rawClient(cluster, driver);
    peer.send(bytesOf(callOf(1, 'pass', { headers: undefined })));
    await until(() => b.stats().runningCalls === 1);
    const drained = b.drain(60_000);
    const goings = (): number => peer.frames.filter(({ type }) => type === FrameType.GoAway).length;
    await peer.until(() => peer.frames.some(({ type }) => type === FrameType.Ping));
    peer.send(bytesOf({ type: FrameType.Pong }));
    await peer.until(() => goings() === 2);
    return { peer, drained };
  }

  it('has a span while it drains; a message too, and one whose beginning is waited for', async () => {
    await using spans = new Spans();
    await using nodes = await gated(driver);
    const { peer, drained } = await staying(nodes, nodes.b);
    peer.send(bytesOf(castOf('pass'), callOf(2, 'large', { deliver: true }), callOf(3, 'large')));
    await peer.until(() => errorsOf(peer.frames).length === 2);
    expect(errorsOf(peer.frames)).toEqual([
      [2, 'refused'],
      [3, 'refused'],
    ]);
    const [cast, delivered, call, ...more] = serverSpans(spans);
    expect([cast, delivered, call].map((span) => span?.name)).toEqual(['gate/pass', 'gate/large', 'gate/large']);
    for (const span of [cast, delivered, call]) expect(span && statusOf(span)).toEqual(REFUSED);
    // Messages are linked to their sender, calls are of its trace.
    for (const span of [cast, delivered]) expect(span?.links.map(({ context }) => context.traceId)).toEqual([TRACE]);
    expect(call?.spanContext().traceId).toBe(TRACE);
    expect(more).toEqual([]);
    nodes.open();
    peer.send(bytesOf({ type: FrameType.Pong }));
    await peer.closed();
    await drained;
  });

  it('has a span where too many answers wait for its caller', async () => {
    await using spans = new Spans();
    const options = { maxMessageBytes: 64 * 1024, maxQueuedBytes: 128 * 1024, maxWindow: 64 * 1024 };
    await using nodes = await gated(driver, options);
    const peer = (await rawClient(nodes, driver)).count();
    let id = 0;
    // One that reads what it is sent, and gives no credit for more.
    while (!errorsOf(peer.frames).some((error) => (error as unknown[])[1] === 'refused')) {
      const before = serverSpans(spans).length;
      peer.send(bytesOf(callOf((id += 1), 'large')));
      await until(() => serverSpans(spans).length > before);
    }
    expect(serverSpans(spans)).toHaveLength(id);
    const last = serverSpans(spans).at(-1);
    expect(last && [last.name, statusOf(last), last.spanContext().traceId]).toEqual(['gate/large', REFUSED, TRACE]);
    peer.destroy();
  });
});

describe('a call whose arguments cannot be read', () => {
  it('has a span under its name', async () => {
    await using spans = new Spans();
    await using nodes = await gated('tcp');
    const peer = await rawClient(nodes, 'tcp');
    // A byte that MessagePack has no meaning for.
    peer.send(bytesOf(callOf(1, 'large', { payload: { kind: 'codec', bytes: Buffer.of(0xc1) } })));
    await peer.until(() => errorsOf(peer.frames).length === 1);
    const [[, code] = []] = errorsOf(peer.frames) as [number, string][];
    const server = await spans.one('SERVER', 'gate/large');
    expect([statusOf(server), server.spanContext().traceId]).toEqual([{ failed: code, type: code }, TRACE]);
    peer.destroy();
  });
});

describe.each(SOCKET_DRIVERS)('a message that is dropped where it came, over %s', (driver) => {
  const few = { concurrency: { casts: 1 }, maxQueuedCasts: 1 };

  it('has a span that is linked to the one that sent it, where too many wait', async () => {
    await using spans = new Spans();
    await using nodes = await gated(driver, few);
    nodes.a.cast(B, 'gate', 'pass');
    await until(() => nodes.opened.length === 1);
    await spans.inside('waits', () => void nodes.a.cast(B, 'gate', 'pass'));
    await spans.inside('dropped', () => void nodes.a.cast(B, 'gate', 'large'));
    const sent = await spans.one('CLIENT', 'gate/large');
    const dropped = await spans.one('SERVER', 'gate/large');
    expect(statusOf(dropped)).toEqual(REFUSED);
    expect(dropped.links.map(({ context }) => context.spanId)).toEqual([sent.spanContext().spanId]);
    expect(nodes.b.stats().counts.cast_overload).toBe(1);
    expect(serverSpans(spans)).toHaveLength(1);
    // Ordered ones go one after the other, and find no room either.
    for (const fn of ['pass', 'large']) nodes.a.cast(B, 'gate', fn, [], { ordered: true });
    await until(() => serverSpans(spans).length === 3);
    nodes.open();
    await until(() => nodes.opened.length === 1);
    nodes.open();
    await until(() => nodes.b.stats().runningCalls === 0);
  });

  it('has one where an ordered one comes behind its successors, or finds too many of its line', async () => {
    await using spans = new Spans();
    await using nodes = await gated(driver, { maxQueuedCasts: 1 });
    const peer = await rawClient(nodes, driver);
    const ordered = (sequence: number, fn: string): CastFrame => castOf(fn, { order: { lane: 1, sequence } });
    peer.send(bytesOf(ordered(1, 'pass'), ordered(2, 'pass'), ordered(3, 'large'), ordered(2, 'large')));
    await until(() => serverSpans(spans).length === 2);
    expect(serverSpans(spans).map((span) => [span.name, statusOf(span)])).toEqual([
      ['gate/large', REFUSED],
      ['gate/large', REFUSED],
    ]);
    expect(nodes.b.stats().counts).toMatchObject({ ordered_cast_dropped: 1, ordered_cast_late: 1 });
    peer.destroy();
  });

  it('has one where it still waits when the node ends', async () => {
    await using spans = new Spans();
    await using nodes = await gated(driver, { concurrency: { casts: 1 } });
    nodes.a.cast(B, 'gate', 'pass');
    await until(() => nodes.opened.length === 1);
    nodes.a.cast(B, 'gate', 'large');
    for (const fn of ['pass', 'large']) nodes.a.cast(B, 'gate', fn, [], { ordered: true });
    await until(() => nodes.b.stats().runningCalls === 4);
    await nodes.b.close();
    const ended = serverSpans(spans).map((span) => [span.name, statusOf(span)]);
    expect(ended).toHaveLength(4);
    expect(ended.filter(([, status]) => JSON.stringify(status) === JSON.stringify(REFUSED))).toHaveLength(3);
  });
});
