/** Nodes over TLS: by what options, who is let in, and what each side is told where that is nobody. */
import { once } from 'node:events';
import { connect, type AddressInfo } from 'node:net';
import { connect as connectTls, createServer, type TlsOptions } from 'node:tls';
import { describe, expect, it } from 'vitest';
import { CertificateAuthority } from '../../lib/authority/certificate-authority.js';
import type { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import { VirtualClock } from '../../lib/testing/virtual-clock.js';
import { Cluster, twoNodes } from '../support/cluster.js';
import { portOf, until } from '../support/door.js';
import { printed } from '../support/printed.js';
import { authority, LOOPBACK_TLS, tlsDriver, type Shown } from '../support/tls.js';

const A = 'a@127.0.0.1';
const B = 'b@127.0.0.1';

/** A node that shows `shown`, which no node of ours would start with. */
function showing(cluster: Cluster, shown: Partial<Shown>): GenRpcNode {
  const drivers = [tlsDriver({ ...LOOPBACK_TLS, ...shown })];
  return cluster.create('a', { listen: false }, { drivers });
}

/** A server that is no node and notes what it hears. */
async function impostor(cluster: Cluster, options: TlsOptions) {
  const heard: Buffer[] = [];
  const server = createServer({ ...LOOPBACK_TLS, ...options }, (socket) => {
    socket.on('data', (bytes) => heard.push(bytes)).on('error', () => {});
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  cluster.discovery.locations.set(B, { driver: 'tls', host: '127.0.0.1', port });
  return { heard, [Symbol.dispose]: () => void server.close() };
}

describe('a node that listens at several places', () => {
  it('serves each by its own driver, and functions see who has a certificate', async () => {
    await using cluster = new Cluster({ driver: 'tls' });
    const edge = await cluster.start('b', { listen: [{ port: 0 }, { driver: 'tcp', port: 0 }] });
    edge.register('who', { calls: (_args, { caller }) => caller.certificate?.subject });
    const [outside, inside] = edge.endpoints();
    expect([outside?.driver, inside?.driver]).toEqual(['tls', 'tcp']);
    const nodes = { [B]: { port: outside?.port ?? 0 } };
    const near = { [B]: { port: inside?.port ?? 0, driver: 'tcp' } };
    const callers = [nodes, near].map((known, at) => cluster.create(`c${at}`, { listen: false, nodes: known, ...OWN }));
    const subjects = await Promise.all(callers.map((caller) => caller.call(B, 'who', 'calls')));
    expect(subjects).toEqual(['CN=any@localhost', undefined]);
  });

  it('lets nobody without a certificate replace a node that has shown one', async () => {
    await using cluster = new Cluster({ driver: 'tls' });
    const edge = await cluster.start('b', { listen: [{ port: 0 }, { driver: 'tcp', port: 0 }] });
    edge.register('who', { calls: (_args, { caller }) => caller.certificate?.subject });
    const [outside, inside] = edge.endpoints().map(({ driver, port }) => ({ [B]: { driver, port } }));
    const namesake = (nodes = outside): GenRpcNode =>
      cluster.create('a', { listen: false, nodes: nodes ?? {}, ...OWN });
    const first = namesake(inside);
    await expect(first.call(B, 'who', 'calls')).resolves.toBeUndefined();
    const real = namesake(outside);
    await expect(real.call(B, 'who', 'calls')).resolves.toBe('CN=any@localhost');
    await until(() => first.nodes().length === 0);
    await expect(namesake(inside).call(B, 'who', 'calls')).rejects.toThrow('already has a connection');
    await expect(namesake(outside).call(B, 'who', 'calls')).resolves.toBe('CN=any@localhost');
    await until(() => real.nodes().length === 0);
    expect(edge.stats()).toMatchObject({ acceptedConnections: 1, counts: { duplicate_node: 3 } });
  });

  it('opens all of them or none', async () => {
    await using cluster = new Cluster({ driver: 'tls' });
    const taken = await cluster.start('taken');
    const { port = 0 } = taken.endpoints()[0] ?? {};
    const node = cluster.create('b', { listen: [{ port: 0 }, { driver: 'tcp', port: 0 }, { port }] });
    await expect(node.listen()).rejects.toMatchObject({ code: 'EADDRINUSE' });
    expect(node.endpoints()).toEqual([]);
    await taken.close();
    await node.listen();
    expect(node.endpoints()).toHaveLength(3);
  });
});

/** Without what the cluster knows of where nodes are. */
const OWN = { discovery: undefined } as object;

describe('a caller', () => {
  it('whose certificate names another node is refused as one without the secret is, and the log says why', async () => {
    await using cluster = new Cluster({ driver: 'tls' });
    const b = await cluster.start('b');
    const liar = showing(cluster, await (await authority()).issue('other@127.0.0.1'));
    await expect(liar.connect(B)).rejects.toMatchObject({
      code: 'invalid_cookie',
      message: expect.stringContaining('does the certificate of this one name it'),
    });
    expect(b.stats()).toMatchObject({ counts: { certificate_mismatch: 1 }, acceptedConnections: 0, handshakes: 0 });
    expect(cluster.log.lines.join()).toContain('not for node a@127.0.0.1');
  });

  it('without a certificate is told to bring one', async () => {
    await using cluster = new Cluster({ driver: 'tls' });
    const b = await cluster.start('b');
    const bare = showing(cluster, { cert: '', key: '' });
    await expect(bare.connect(B)).rejects.toMatchObject({
      code: 'node_down',
      details: { cause: 'TLS_CLIENT_CERT_REQUIRED' },
    });
    await until(() => b.stats().counts.certificate_refused === 1);
  });

  it('whose certificate is by another authority hears that it may be that', async () => {
    await using cluster = new Cluster({ driver: 'tls' });
    const b = await cluster.start('b');
    const foreign = await CertificateAuthority.create();
    const { cert, key } = await foreign.issue(A);
    await expect(showing(cluster, { cert, key }).connect(B)).rejects.toMatchObject({
      code: 'node_down',
      message: expect.stringContaining('Its log says why'),
      details: { cause: 'TLS_CLIENT_CERT_REFUSED' },
    });
    await until(() => b.stats().counts.certificate_refused === 1);
    expect(cluster.log.lines.join()).toContain('by an authority that tls.ca does not hold');
  });
});

describe('a node that is dialled', () => {
  it('gets no byte of the handshake if its certificate names another', async () => {
    await using cluster = new Cluster({ driver: 'tls' });
    using server = await impostor(cluster, await (await authority()).issue('other@127.0.0.1'));
    const a = cluster.create('a', { listen: false });
    await expect(a.connect(B)).rejects.toMatchObject({
      code: 'node_certificate_mismatch',
      family: 'badtcp',
      details: { wanted: B, names: ['IP Address:127.0.0.1', 'URI:genrpc:other@127.0.0.1'] },
    });
    expect(server.heard).toEqual([]);
    expect(a.stats().counts).toMatchObject({ peer_certificate_mismatch: 1, dial_failed: 1 });
  });

  it('is not believed on the word of another authority', async () => {
    await using cluster = new Cluster({ driver: 'tls' });
    using server = await impostor(cluster, await (await CertificateAuthority.create()).issue(B));
    const a = cluster.create('a', { listen: false });
    await expect(a.connect(B)).rejects.toMatchObject({
      code: 'node_down',
      message: expect.stringContaining('by an authority that tls.ca does not hold'),
      details: { cause: expect.stringMatching(/^(SELF_SIGNED|UNABLE_TO)/) },
    });
    expect(server.heard).toEqual([]);
    expect(a.stats().counts).toMatchObject({ peer_certificate_refused: 1 });
  });

  it('has to speak TLS 1.3, unless 1.2 is allowed', async () => {
    await using cluster = new Cluster({ driver: 'tls' });
    using _old = await impostor(cluster, { maxVersion: 'TLSv1.2' });
    const a = cluster.create('a', { listen: false });
    await expect(a.connect(B)).rejects.toMatchObject({
      code: 'node_down',
      message: expect.stringContaining('version'),
    });
    await cluster.start('b', {}, { drivers: [tlsDriver(LOOPBACK_TLS, { minVersion: 'TLSv1.2' })] });
    const port = portOf(cluster, B);
    const socket = connectTls({ port, host: '127.0.0.1', ...LOOPBACK_TLS, maxVersion: 'TLSv1.2' });
    await once(socket, 'secureConnect');
    expect(socket.getCipher().name).toMatch(/^ECDHE-.*(GCM|POLY1305)/);
    socket.destroy();
  });
});

describe('a stranger at the door of TLS', () => {
  it('is counted from the first byte on, or none, and cut off at the deadline', async () => {
    const clock = new VirtualClock();
    await using cluster = new Cluster({ driver: 'tls', ports: { clock } });
    const b = await cluster.start('b', { handshakeTimeout: 1000, admission: { perAddress: 2 } });
    const sockets = Array.from({ length: 3 }, () => connect(portOf(cluster, B), '127.0.0.1').on('error', () => {}));
    const ended = sockets.map((socket) => new Promise((resolve) => socket.once('close', resolve)));
    await until(() => b.stats().counts.admission_refused === 1);
    expect(b.stats()).toMatchObject({ handshakes: 2, counts: { accepted: 2 } });
    // The beginning of a ClientHello, by which the deadline does not move.
    await clock.advance(900);
    for (const socket of sockets) socket.write(Buffer.from('160301', 'hex'));
    await clock.advance(99);
    expect(b.stats().handshakes).toBe(2);
    await clock.advance(1);
    await Promise.all(ended);
    await until(() => b.stats().handshakes === 0);
    expect(b.stats().counts).toMatchObject({ handshake_timeout: 2 });
    await cluster.create('a', { listen: false }).connect(B);
  });

  it.each(['close', 'drain'] as const)('is gone once a node has ended by `%s`', async (end) => {
    await using cluster = new Cluster({ driver: 'tls' });
    const b = await cluster.start('b');
    const port = portOf(cluster, B);
    const silent = connect(port, '127.0.0.1').on('error', () => {});
    const secured = connectTls({ port, host: '127.0.0.1', ...LOOPBACK_TLS }).on('error', () => {});
    const ended = [silent, secured].map((socket) => new Promise((resolve) => socket.once('close', resolve)));
    await once(secured, 'secureConnect');
    await until(() => b.stats().handshakes === 2);
    await b[end]();
    expect(b.stats().handshakes).toBe(0);
    await Promise.all(ended);
  });

  it('that speaks no TLS is closed and counted', async () => {
    await using nodes = await twoNodes({ driver: 'tls' });
    const socket = connect(portOf(nodes, B), '127.0.0.1').on('error', () => {});
    const ended = new Promise((resolve) => socket.once('close', resolve));
    socket.write('NGRP, or whatever else is no TLS');
    await ended;
    await until(() => nodes.b.stats().counts.tls_failed === 1);
    expect(nodes.b.stats().handshakes).toBe(0);
  });

  it('of TLS finds a plain port closed to it', async () => {
    await using nodes = await twoNodes({ driver: 'tcp' });
    const socket = connectTls({ port: portOf(nodes, B), host: '127.0.0.1', ...LOOPBACK_TLS }).on('error', () => {});
    await new Promise((resolve) => socket.once('close', resolve));
    await until(() => nodes.b.stats().counts.handshake_failed === 1);
  });
});

describe('the key of a node', () => {
  it('is in nothing of it that can be printed', { timeout: 90_000 }, async () => {
    await using nodes = await twoNodes({ driver: 'tls' });
    const contexts: unknown[] = [];
    nodes.b.register('who', { calls: (_args, context) => contexts.push(context) });
    await nodes.a.call(B, 'who', 'calls');
    const [, line = ''] = LOOPBACK_TLS.key.split('\n');
    for (const one of [nodes.a, nodes.b, contexts, nodes.a.stats(), nodes]) expect(printed(one)).not.toContain(line);
    expect(printed({ tls: LOOPBACK_TLS }), 'the search finds what is there').toContain(line);
  });
});
