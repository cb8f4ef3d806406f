import { createServer, isIPv6 } from 'node:net';
import { networkInterfaces } from 'node:os';
import { beforeEach, describe, expect, it } from 'vitest';
import { createNode } from '../../lib/node/create-node.js';
import type { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import type { ListenOptions } from '../../lib/node/option-groups.js';
import { SECRET } from '../support/cluster.js';
import { until } from '../support/door.js';

/** Why the tests of this file cannot run here, if so. */
async function obstacle(): Promise<string | undefined> {
  const server = createServer();
  const failure = await new Promise<string | undefined>((resolve) => {
    server.once('error', (error) => resolve(error.message));
    server.listen(0, '::1', () => resolve(undefined));
  });
  server.close();
  return failure;
}

const NO_IPV6 = await obstacle();

beforeEach(({ skip }) => skip(NO_IPV6 !== undefined, `this machine has no IPv6: ${NO_IPV6}`));

/** A node that answers, and where it is. */
async function answering(name: string, listen: ListenOptions) {
  const node = createNode({ name, secret: SECRET, listen: { port: 0, ...listen } });
  node.register('who', {
    am: (_: unknown, { caller }) => ({ node: caller.node, address: caller.address }),
  });
  const address = await node.listen();
  if (address === undefined) throw new Error('it does not listen');
  return { node, address, [Symbol.asyncDispose]: () => node.close() };
}

/** A caller that knows the port of all others, and takes their hosts from their names. */
function calling(clientPort: number, nodes: Record<string, { host: string }> = {}): GenRpcNode & AsyncDisposable {
  const node = createNode({
    ...{ name: 'a@::1', secret: SECRET, listen: false, clientPort, nodes },
    ...{ connectTimeout: 2000, callTimeout: 10_000 },
  });
  return Object.assign(node, { [Symbol.asyncDispose]: () => node.close() });
}

describe('a node on ::1', () => {
  it('is reached by its name alone, and needs no leave for plain text', async () => {
    await using b = await answering('b@::1', { host: '::1' });
    expect(b.address.host).toBe('::1');
    await using a = calling(b.address.port);
    await expect(a.call('b@::1', 'who', 'am')).resolves.toEqual({ node: 'a@::1', address: '::1' });
    expect(a.nodes()).toEqual(['b@::1']);
    expect(b.node.stats().acceptedConnections).toBe(1);
  });

  it('is reached by a key, by a cast, and by all verbs for many', async () => {
    await using b = await answering('b@::1', { host: '::1' });
    await using a = calling(b.address.port);
    const heard: unknown[] = [];
    b.node.registerEvent('heard', (message: unknown) => heard.push(message));
    await expect(a.call({ node: 'b@::1', key: 7 }, 'who', 'am')).resolves.toMatchObject({ node: 'a@::1' });
    const { results, badNodes } = await a.multicall(['b@::1'], 'who', 'am');
    expect({ results, badNodes }).toEqual({ results: [{ node: 'a@::1', address: '::1' }], badNodes: [] });
    await expect(a.sbcast(['b@::1'], 'heard', 1)).resolves.toEqual({ good: ['b@::1'], bad: [] });
    expect(a.cast('b@::1', '', 'heard', [2])).toBe(true);
    await until(() => heard.length === 2);
  });

  it('is not there over IPv4', async () => {
    await using b = await answering('b@::1', { host: '::1' });
    await using a = calling(b.address.port, { 'b@::1': { host: '127.0.0.1' } });
    await expect(a.call('b@::1', 'who', 'am')).rejects.toMatchObject({
      code: 'node_down',
      details: { cause: 'ECONNREFUSED', host: '127.0.0.1' },
    });
  });

  it('that is down is named with its address', async () => {
    await using a = calling(1);
    await expect(a.call('b@::1', 'who', 'am')).rejects.toMatchObject({
      code: 'node_down',
      details: { cause: 'ECONNREFUSED', host: '::1', port: 1 },
    });
  });
});

describe('a node on ::', () => {
  const BOTH = { host: '::', allowPlaintext: true };

  it('is refused without leave for plain text', () => {
    for (const host of ['::', '::0', '0::0', '2001:db8::1']) {
      expect(() => createNode({ name: 'b@::1', secret: SECRET, listen: { host } })).toThrow(/allowPlaintext/);
    }
  });

  it.each([undefined, false])('is there over IPv4 and IPv6 with ipv6Only: %s', async (ipv6Only) => {
    await using b = await answering('b@::1', ipv6Only === undefined ? BOTH : { ...BOTH, ipv6Only });
    expect(b.address.host).toBe('::');
    await using six = calling(b.address.port);
    await expect(six.call('b@::1', 'who', 'am')).resolves.toMatchObject({ address: '::1' });
    await using four = calling(b.address.port, { 'b@::1': { host: '127.0.0.1' } });
    const { address } = await four.call<{ address: string }>('b@::1', 'who', 'am');
    expect(address).toBe('127.0.0.1');
  });

  it('is there over IPv6 alone with ipv6Only: true', async () => {
    await using b = await answering('b@::1', { ...BOTH, ipv6Only: true });
    await using six = calling(b.address.port);
    await expect(six.call('b@::1', 'who', 'am')).resolves.toMatchObject({ address: '::1' });
    await using four = calling(b.address.port, { 'b@::1': { host: '127.0.0.1' } });
    await expect(four.call('b@::1', 'who', 'am')).rejects.toMatchObject({
      code: 'node_down',
      details: { cause: 'ECONNREFUSED' },
    });
  });

  it('with ipv6Only: true leaves the port of IPv4 to another node', async () => {
    await using b = await answering('b@::1', { ...BOTH, ipv6Only: true });
    await using c = await answering('c@127.0.0.1', { host: '127.0.0.1', port: b.address.port });
    await using a = calling(b.address.port);
    await expect(a.call('b@::1', 'who', 'am')).resolves.toBeDefined();
    await expect(a.call('c@127.0.0.1', 'who', 'am')).resolves.toBeDefined();
    expect([b.node.stats().acceptedConnections, c.node.stats().acceptedConnections]).toEqual([1, 1]);
  });
});

describe('names of nodes with an IPv6 host', () => {
  it.each(['b@::1', 'b@0:0:0:0:0:0:0:1', 'b@0000:0000:0000:0000:0000:0000:0000:0001'])(
    'are dialled as they are written: %s',
    async (name) => {
      await using b = await answering(name, { host: '::1' });
      await using a = calling(b.address.port);
      await expect(a.call(name, 'who', 'am')).resolves.toMatchObject({ address: '::1' });
    },
  );

  it('are compared by letter: another way to write the same address is another node', async () => {
    await using b = await answering('b@::1', { host: '::1' });
    await using a = calling(b.address.port);
    await expect(a.call('b@0:0:0:0:0:0:0:1', 'who', 'am')).rejects.toMatchObject({ code: 'wrong_node' });
  });

  it('of this machine, beyond loopback', async ({ skip }) => {
    const global = Object.values(networkInterfaces())
      .flatMap((addresses) => addresses ?? [])
      .find(({ address, internal, scopeid }) => isIPv6(address) && !internal && scopeid === 0);
    skip(global === undefined, 'this machine has no IPv6 address but loopback and link-local ones');
    const name = `b@${global?.address}`;
    await using b = await answering(name, { host: global?.address ?? '', allowPlaintext: true });
    await using a = calling(b.address.port);
    await expect(a.call(name, 'who', 'am')).resolves.toMatchObject({ address: global?.address });
  });
});
