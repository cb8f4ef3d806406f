/** Spans of calls: who is whose child, what they say, and how they end. Read where an exporter has them. */
import { context, SpanKind, trace } from '@opentelemetry/api';
import { describe, expect, it } from 'vitest';
import { openTelemetry } from '../../lib/opentelemetry.js';
import { Cluster, DRIVERS, SOCKET_DRIVERS } from '../support/cluster.js';
import { redirect, until } from '../support/door.js';
import { Proxy } from '../support/proxy.js';
import { isChildOf, Spans, statusOf } from '../support/spans.js';
import { recordOf, ToldDiscovery } from '../support/told-discovery.js';
import { A, B, C, tracedNodes } from './nodes.js';

describe.each(DRIVERS)('a trace over %s', (driver) => {
  it('is one over three nodes, each call a child of whatever made it', async () => {
    await using spans = new Spans();
    await using nodes = await tracedNodes(driver);
    await expect(spans.inside('request', () => nodes.a.call(B, 'shop', 'total', [1, 2]))).resolves.toBe(3);
    const request = await spans.one('INTERNAL', 'request');
    const asked = await spans.one('CLIENT', 'shop/total');
    const total = await spans.one('SERVER', 'shop/total');
    const added = await spans.one('CLIENT', 'math/add');
    const add = await spans.one('SERVER', 'math/add');
    const way = [request, asked, total, added, add];
    way.slice(1).forEach((span, at) => expect(isChildOf(span, way[at] ?? span)).toBe(true));
    expect(way.map(statusOf)).toEqual([undefined, 'ok', 'ok', 'ok', 'ok']);
    expect(spans.ended).toHaveLength(5);
  });
});

describe('spans of a call', () => {
  it('say what was called and where, and nothing of its arguments', async () => {
    await using spans = new Spans();
    await using nodes = await tracedNodes();
    await nodes.a.call(C, 'math', 'add', [123456, 654321]);
    const port = nodes.discovery.locations.get(C)?.port;
    const common = {
      ...{ 'rpc.system.name': 'gen_rpc', 'rpc.method': 'math/add', 'rpc.status_code': 'ok' },
      ...{ 'server.address': '127.0.0.1', 'server.port': port },
      ...{ 'network.transport': 'tcp', 'network.peer.address': '127.0.0.1' },
    };
    expect((await spans.one('CLIENT', 'math/add')).attributes).toEqual({
      ...common,
      'network.peer.port': port,
      'gen_rpc.peer.node': C,
    });
    expect((await spans.one('SERVER', 'math/add')).attributes).toEqual({
      ...common,
      'client.address': '127.0.0.1',
      'gen_rpc.peer.node': A,
    });
  });

  it.each(SOCKET_DRIVERS)(
    'say which of the ports of a node was called, and the address behind a name, over %s',
    async (driver) => {
      await using spans = new Spans();
      await using cluster = new Cluster({ driver, options: { tracing: openTelemetry() } });
      const b = await cluster.start('b', { listen: [{ port: 0 }, { port: 0 }] });
      b.register('math', { add: ([x, y]: [number, number]) => x + y });
      const ports = b.endpoints().map(({ port }) => port);
      expect(new Set(ports).size).toBe(2);
      for (const [at, port] of ports.entries()) {
        cluster.discovery.locations.set(b.name, { driver, host: 'localhost', port });
        await cluster.create(`caller-${at}`, { listen: false }).call(b.name, 'math', 'add', [1, 2]);
      }
      const [client, server] = (['CLIENT', 'SERVER'] as const).map((kind) => {
        return spans.ended.filter((span) => span.kind === SpanKind[kind]).map(({ attributes }) => attributes);
      });
      expect(server?.map((attributes) => attributes['server.port'])).toEqual(ports);
      expect(client?.map((attributes) => attributes['network.peer.port'])).toEqual(ports);
      const found = { 'server.address': 'localhost', 'network.peer.address': '127.0.0.1' };
      expect(client).toMatchObject([found, found]);
    },
  );

  it('tell the code of an error, and nothing that it says', async () => {
    await using spans = new Spans();
    await using nodes = await tracedNodes();
    await expect(nodes.a.call(C, 'math', 'fail')).rejects.toMatchObject({ code: 'handler_failed' });
    await expect(nodes.a.call(C, 'math', 'decline')).rejects.toMatchObject({ message: 'no tea for 4711' });
    const ended = await spans.all(4);
    const failed = { failed: 'handler_failed', type: 'handler_failed' };
    expect(ended.map(statusOf)).toEqual([failed, failed, failed, failed]);
    for (const { events, status } of ended) expect({ events, status }).toEqual({ events: [], status: { code: 2 } });
    expect(JSON.stringify(ended.map(({ attributes }) => attributes))).not.toMatch(/secret|4711/);
  });

  it('do not take names from the wire where there is no such function, or it may not be called', async () => {
    await using spans = new Spans();
    await using nodes = await tracedNodes();
    const long = 'x'.repeat(1000);
    await expect(nodes.a.call(C, 'math', long)).rejects.toMatchObject({ code: 'undefined_function' });
    nodes.c.setModulePolicy('blacklist', ['math']);
    await expect(nodes.a.call(C, 'math', 'add')).rejects.toMatchObject({ code: 'unauthorized' });
    await spans.all(4);
    const answered = spans.ended.filter(({ name }) => name === 'gen_rpc');
    expect(answered.map(({ attributes }) => attributes['rpc.method'])).toEqual(['_OTHER', '_OTHER']);
    expect(answered.map(({ attributes }) => attributes['rpc.method_original'])).toEqual([
      `math/${long}`.slice(0, 128),
      'math/add',
    ]);
    expect(answered.map(statusOf)).toEqual([
      { failed: 'undefined_function', type: 'undefined_function' },
      'unauthorized',
    ]);
  });

  it('end when the caller has had enough, there and here', async () => {
    await using spans = new Spans();
    await using nodes = await tracedNodes();
    await nodes.a.connect(C);
    const late = nodes.a.call(C, 'math', 'never', [], { timeout: 1000 });
    await expect(late).rejects.toMatchObject({ code: 'timeout' });
    expect(statusOf(await spans.one('CLIENT', 'math/never'))).toEqual({ failed: 'timeout', type: 'timeout' });
    // It hears of it from its caller, or finds out by itself.
    expect((await spans.one('SERVER', 'math/never')).attributes['rpc.status_code']).toMatch(/^(cancelled|timeout)$/);
  });

  it('end as cancelled where the caller gives it up', async () => {
    await using spans = new Spans();
    await using nodes = await tracedNodes();
    const giveUp = new AbortController();
    const call = nodes.a.call(C, 'math', 'never', [], { signal: giveUp.signal });
    await until(() => nodes.c.stats().runningCalls === 1);
    giveUp.abort();
    await expect(call).rejects.toMatchObject({ code: 'cancelled' });
    expect((await spans.all(2)).map(statusOf)).toEqual(['cancelled', 'cancelled']);
  });

  it('end with the connection', async () => {
    await using spans = new Spans();
    await using nodes = await tracedNodes();
    await using proxy = await Proxy.to(nodes.discovery.locations.get(C) ?? expect.fail('c listens'));
    redirect(nodes, C, proxy.port);
    const call = nodes.a.call(C, 'math', 'never');
    await until(() => nodes.c.stats().runningCalls === 1);
    for (const link of proxy.links) link.reset();
    await expect(call).rejects.toMatchObject({ code: 'connection_lost' });
    const lost = { failed: 'connection_lost', type: 'connection_lost' };
    expect((await spans.all(2)).map(statusOf)).toEqual([lost, lost]);
  });

  it('tell that an answer could not be sent', async () => {
    await using spans = new Spans();
    await using nodes = await tracedNodes();
    for (const node of [nodes.b, nodes.c]) {
      await expect(nodes.c.call(node.name, 'odd', 'answer')).rejects.toMatchObject({ code: 'encode_error' });
    }
    const failed = { failed: 'encode_error', type: 'encode_error' };
    expect((await spans.all(4)).map(statusOf)).toEqual([failed, failed, failed, failed]);
  });

  it('are there for a call that a node makes of itself, in one trace', async () => {
    await using spans = new Spans();
    await using nodes = await tracedNodes();
    await expect(nodes.c.call(C, 'math', 'add', [1, 2])).resolves.toBe(3);
    const client = await spans.one('CLIENT', 'math/add');
    const server = await spans.one('SERVER', 'math/add');
    expect(isChildOf(server, client)).toBe(true);
    for (const { attributes } of [client, server]) {
      expect(Object.keys(attributes)).not.toEqual(expect.arrayContaining(['network.transport']));
      expect(attributes).toMatchObject({ 'server.address': '127.0.0.1', 'gen_rpc.peer.node': C });
    }
  });

  it('are two for each node of a multicall, and for each asyncCall', async () => {
    await using spans = new Spans();
    await using nodes = await tracedNodes();
    await spans.inside('request', async () => {
      const { results, badNodes } = await nodes.a.multicall([B, C], 'math', 'add', [1, 2]);
      expect({ results, badNodes }).toEqual({ results: [3], badNodes: [B] });
      await expect(nodes.a.asyncCall(C, 'math', 'add', [3, 4]).yield()).resolves.toBe(7);
    });
    const request = await spans.one('INTERNAL', 'request');
    const made = spans.ended.filter((span) => isChildOf(span, request));
    expect(made.map(({ name, attributes }) => [name, attributes['gen_rpc.peer.node']])).toEqual(
      expect.arrayContaining([
        ['math/add', B],
        ['math/add', C],
        ['math/add', C],
      ]),
    );
    expect(spans.ended).toHaveLength(7);
  });

  it('are one where it is made, over all attempts to make it', async () => {
    await using spans = new Spans();
    await using nodes = await tracedNodes();
    await using proxy = await Proxy.to(nodes.discovery.locations.get(C) ?? expect.fail('c listens'));
    redirect(nodes, C, proxy.port);
    let deaths = 1;
    nodes.c.register('canary', {
      sing: () => {
        deaths -= 1;
        if (deaths < 0) return 'tweet';
        for (const link of proxy.links) link.reset();
        return new Promise(() => {});
      },
    });
    await expect(nodes.a.call(C, 'canary', 'sing', [], { idempotent: true })).resolves.toBe('tweet');
    const client = await spans.one('CLIENT', 'canary/sing');
    // A second one may come before the connection can be made again.
    expect([[2], [2, 3]]).toContainEqual(client.events.map(({ attributes }) => attributes?.['attempt']));
    expect(client.events[0]).toMatchObject({ name: 'gen_rpc.attempt', attributes: { 'gen_rpc.peer.node': C } });
    expect(statusOf(client)).toBe('ok');
    const answered = (await spans.all(3)).filter((span) => isChildOf(span, client));
    expect(answered.map(statusOf)).toEqual([expect.objectContaining({ type: 'connection_lost' }), 'ok']);
  });

  it('name the node that was chosen, the last one where several were', async () => {
    await using spans = new Spans();
    await using nodes = await tracedNodes();
    const discovery = new ToldDiscovery();
    const caller = nodes.create('caller', { listen: false, discovery });
    const modules = [{ name: 'math', versions: [''] }];
    discovery.tell(recordOf(nodes.b, { modules }), recordOf(nodes.c, { modules, priority: 1 }));
    await expect(caller.call({ module: 'math' }, 'math', 'add', [1, 2])).resolves.toBe(3);
    const client = await spans.one('CLIENT', 'math/add');
    expect(client.attributes).toMatchObject({ 'gen_rpc.peer.node': C, 'rpc.status_code': 'ok' });
    expect(client.events).toMatchObject([{ attributes: { 'gen_rpc.peer.node': C, attempt: 2 } }]);
  });

  it('tell of a call that cannot be made, thrown or rejected', async () => {
    await using spans = new Spans();
    await using nodes = await tracedNodes();
    await expect(nodes.a.call(B, 'math', 'add', [Symbol('no')])).rejects.toMatchObject({ code: 'encode_error' });
    await expect(nodes.a.call(B, 'math', 'add', [], { timeout: -1 })).rejects.toMatchObject({
      code: 'invalid_argument',
    });
    await expect(nodes.a.call('nobody', 'math', 'add')).rejects.toMatchObject({ code: 'invalid_argument' });
    expect((await spans.all(3)).map(statusOf)).toEqual([
      { failed: 'encode_error', type: 'encode_error' },
      { failed: 'invalid_argument', type: 'invalid_argument' },
      { failed: 'invalid_argument', type: 'invalid_argument' },
    ]);
  });

  it('are of the provider that they are given, and of none where that was asked for', async () => {
    await using spans = new Spans();
    await using own = spans.another();
    await using nodes = await tracedNodes('tcp', openTelemetry({ tracerProvider: own.provider }));
    await nodes.a.call(C, 'math', 'add', [1, 2]);
    expect(own.ended.map(({ name }) => name)).toEqual(['math/add', 'math/add']);
    expect(spans.ended).toEqual([]);
  });

  it('do not become those of whoever is called back by the same connection', async () => {
    await using spans = new Spans();
    await using nodes = await tracedNodes();
    const active = await spans.inside('first', async () => {
      await nodes.a.call(B, 'shop', 'total', [1, 2]);
      return trace.getSpan(context.active())?.spanContext().spanId;
    });
    expect(active).toBe((await spans.one('INTERNAL', 'first')).spanContext().spanId);
    await nodes.a.call(B, 'shop', 'total', [1, 2]);
    const outside = spans.ended.filter(({ name, parentSpanContext }) => name === 'shop/total' && !parentSpanContext);
    expect(outside).toHaveLength(1);
  });
});
