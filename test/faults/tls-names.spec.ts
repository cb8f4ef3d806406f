/** Whom a certificate speaks for, as nodes hold each other to it: L-01, L-02, L-03, L-14. */
import { beforeAll, describe, expect, it } from 'vitest';
import type { IssueOptions } from '../../lib/authority/issue-options.js';
import type { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import type { TlsOptions } from '../../lib/node/tls-options.js';
import { HandshakeType, RejectReason } from '../../lib/protocol/handshake-frames.js';
import { Cluster, TestLog } from '../support/cluster.js';
import { answerAs, Door, greet, proofFrame, redirect, refusalOf, until, OTHER_SECRET } from '../support/door.js';
import { helloFor } from '../support/raw-peer.js';
import { TlsImpostor } from '../support/tls-peer.js';
import { LOOPBACK_TLS, tlsDriver, tlsOf } from '../support/tls.js';

const HOST = 'b.c.example.com';
const NODE = `b@${HOST}`;

type Rules = Pick<TlsOptions, 'allowWildcards' | 'allowCommonName'>;

const RULES: readonly Rules[] = [
  {},
  { allowWildcards: true },
  { allowCommonName: true },
  { allowWildcards: true, allowCommonName: true },
];
const NEVER = [false, false, false, false];
const ALWAYS = [true, true, true, true];

/** What a certificate says, and whether it speaks for the node by each of `RULES`. The address is the one dialled. */
const ROWS: [title: string, says: IssueOptions, verdicts: boolean[]][] = [
  ['the right alternative name', { names: { dns: [HOST] }, commonName: 'whoever' }, ALWAYS],
  ['that name, and nothing else: no subject', { names: { dns: [HOST] }, commonName: '' }, ALWAYS],
  ['a wrong one, and the right common name', { names: { dns: ['d.c.example.com'] }, commonName: HOST }, NEVER],
  ['nothing but the common name', { names: false, commonName: HOST }, [false, false, true, true]],
  ['an address, and the common name', { names: { ip: ['127.0.0.1'] }, commonName: HOST }, NEVER],
  ['URIs, and the common name', { names: { uri: [`https://${HOST}`, `genrpc:${NODE}`] }, commonName: HOST }, NEVER],
  ['an e-mail address, and the common name', { names: { email: [NODE] }, commonName: HOST }, NEVER],
  ['a wildcard for one level', { names: { dns: ['*.c.example.com'] }, commonName: 'x' }, [false, true, false, true]],
  ['a wildcard for two levels', { names: { dns: ['*.example.com'] }, commonName: HOST }, NEVER],
  ["a wildcard over the node's own domain", { names: { dns: [`*.${HOST}`] }, commonName: HOST }, NEVER],
  ['a wildcard as common name', { names: false, commonName: '*.c.example.com' }, [false, false, false, true]],
];

/** With what a node of that name starts at all, whatever it then shows. */
let own: typeof LOOPBACK_TLS;

beforeAll(async () => {
  own = await tlsOf(NODE);
});

async function showing(says: IssueOptions) {
  return tlsDriver(await tlsOf(NODE, says));
}

describe('L-01 the certificate of a server', () => {
  it.each(ROWS)('L-01 that says %s', async (_title, says, verdicts) => {
    await using cluster = new Cluster({ driver: 'tls' });
    const log = new TestLog();
    const b = await cluster.start(NODE, { tls: own }, { drivers: [await showing(says)], log });
    const healthy = await cluster.start('healthy');
    let sang = 0;
    for (const node of [b, healthy]) node.register('canary', { sing: () => (sang += 1) });
    for (const [index, rules] of RULES.entries()) {
      sang = 0;
      const accepted = verdicts[index] ?? false;
      const a = cluster.create(`a${index}`, { listen: false, tls: { ...LOOPBACK_TLS, ...rules } });
      await a.connect(healthy.name);
      const reply = a.call(NODE, 'canary', 'sing');
      if (accepted) await expect(reply, JSON.stringify(rules)).resolves.toBe(1);
      else {
        const refused = { code: 'node_certificate_mismatch', maybeExecuted: false };
        await expect(reply, JSON.stringify(rules)).rejects.toMatchObject(refused);
        expect(a.stats().counts).toMatchObject({ peer_certificate_mismatch: 1, dial_failed: 1, connected: 1 });
      }
      expect(sang).toBe(accepted ? 1 : 0);
      expect(await a.call(healthy.name, 'canary', 'sing')).toBe(sang);
      expect(a.stats().counts).not.toHaveProperty('connection_lost');
    }
    const refusals = verdicts.filter((accepted) => !accepted).length;
    await until(() => (b.stats().counts.handshake_failed ?? 0) === refusals && b.stats().handshakes === 0);
    expect(b.stats().counts.accepted).toBe(RULES.length);
    // The one who is refused hears no more than that the other went away.
    expect(log.lines.join()).not.toContain('not for');
    expect(cluster.log.lines.filter((line) => line.includes('not for host'))).toHaveLength(refusals);
  });
});

describe('L-02 the certificate of a client', () => {
  it.each(ROWS)('L-02 that says %s', async (_title, says, verdicts) => {
    const driver = await showing(says);
    for (const [index, rules] of RULES.entries()) {
      await using door = await Door.open('tls', { tls: { ...LOOPBACK_TLS, ...rules } });
      const caller = door.cluster.create(NODE, { listen: false, tls: own }, { drivers: [driver] });
      const error = await caller.call(door.name, 'canary', 'sing').then(
        () => undefined,
        (cause: Error) => cause,
      );
      if (verdicts[index] === true) {
        expect(error, JSON.stringify(rules)).toBeUndefined();
        expect(door.sang).toEqual([NODE]);
      } else {
        expect(error, JSON.stringify(rules)).toMatchObject({ code: 'invalid_cookie', maybeExecuted: false });
        expect(error?.message).not.toContain('not for');
        expect(door.counts).toMatchObject({ certificate_mismatch: 1, accepted: 2 });
        expect(door.counts.auth_failed).toBeUndefined();
        expect(door.cluster.log.lines.join()).toMatch(/does not speak for it: it is not for host b\.c\.example\.com/);
        expect(door.sang).toEqual([]);
      }
    }
  });
});

describe('L-03 a good certificate, of another node', () => {
  const A = 'a@127.0.0.1';

  it('L-03 whose owner says HELLO as somebody else hears what a wrong secret hears, before it may prove anything', async () => {
    await using door = await Door.open('tls');
    const peer = await door.dialTls(await tlsOf('mallory@10.0.0.9'));
    peer.send(helloFor(A, door.name));
    expect(await refusalOf(peer)).toEqual({ reason: RejectReason.Denied, minVersion: 1, maxVersion: 1 });
    const guesser = await door.dialTls();
    const { script, answer } = await greet(guesser, helloFor(A, door.name));
    guesser.send(proofFrame(script, OTHER_SECRET));
    await refusalOf(guesser);
    expect(Buffer.concat(peer.received)).toEqual(Buffer.concat(guesser.received).subarray(answer.length));
    expect(door.counts).toMatchObject({ certificate_mismatch: 1, auth_failed: 1 });
    expect(door.cluster.log.lines.join()).toContain('not for host 127.0.0.1');
    expect(door.sang).toEqual([]);
  });

  it('L-03 of the same host: the node itself has to be named, if any is', async () => {
    await using door = await Door.open('tls');
    const mallory = await tlsOf('mallory@127.0.0.1');
    const peer = await door.dialTls(mallory);
    peer.send(helloFor(A, door.name));
    expect((await refusalOf(peer)).reason).toBe(RejectReason.Denied);
    expect(door.counts).toMatchObject({ certificate_mismatch: 1 });
    const honest = await door.dialTls(mallory);
    await honest.login('mallory@127.0.0.1', door.name);
  });

  it('L-03 of a server: it hears no HELLO, whoever it says it is', async () => {
    await using cluster = new Cluster({ driver: 'tls' });
    const mallory = await tlsOf('mallory@127.0.0.1');
    await using server = await TlsImpostor.listen(mallory, (peer) => {
      void answerAs(peer, 'b@127.0.0.1').catch(() => {});
    });
    redirect(cluster, 'b@127.0.0.1', server.port);
    const a = cluster.create('a', { listen: false });
    await expect(a.call('b@127.0.0.1', 'canary', 'sing')).rejects.toMatchObject({ code: 'node_certificate_mismatch' });
    await until(() => server.ended === 1);
    expect(server.heard).toHaveLength(0);
  });
});

describe('L-14 hosts that can be written in several ways', () => {
  async function served(name: string, listen: string, says: IssueOptions): Promise<[Cluster, GenRpcNode]> {
    const cluster = new Cluster({ driver: 'tls' });
    const node = await cluster.start(name, { tls: await tlsOf(name, says), listen: { host: listen, port: 0 } });
    node.register('canary', { sing: () => 'la' });
    return [cluster, node];
  }

  it.each<[host: string, names: { dns?: string[]; ip?: string[] }, speaks: boolean]>([
    ['node.example.', { dns: ['node.example'] }, true],
    ['node.example', { dns: ['NODE.Example'] }, true],
    ['Node.EXAMPLE.', { dns: ['node.example'] }, true],
    ['node.example..', { dns: ['node.example'] }, false],
    ['xn--bcher-kva.example', { dns: ['xn--bcher-kva.example'] }, true],
    ['XN--BCHER-kva.example', { dns: ['xn--bcher-kva.example'] }, true],
    ['xn--bcher-kva.example', { dns: ['bucher.example'] }, false],
    ['::1', { ip: ['::1'] }, true],
    ['::1', { ip: ['0:0:0:0:0:0:0:1'] }, true],
    ['0:0:0:0:0:0:0:1', { ip: ['::1'] }, true],
    ['2001:0DB8:0::2', { ip: ['2001:db8::2'] }, true],
    ['::1', { ip: ['::2'] }, false],
    ['::1', { dns: ['::1'] }, false],
    ['::1', { ip: ['127.0.0.1'] }, false],
    ['127.0.0.1', { ip: ['::1'] }, false],
  ])('L-14 %s and a certificate for %j, at both ends: %s', async (host, names, speaks) => {
    const name = `b@${host}`;
    const tls = await tlsOf('x@x', { names });
    await using door = await Door.open('tls');
    const peer = await door.dialTls(tls);
    peer.send(helloFor(name, door.name));
    const { type } = await peer.handshake(HandshakeType.ServerHello, HandshakeType.Reject);
    expect(type).toBe(speaks ? HandshakeType.ServerHello : HandshakeType.Reject);
    await using server = await TlsImpostor.listen(tls, (one) => void one.welcome(name).catch(() => {}));
    redirect(door.cluster, name, server.port);
    const a = door.cluster.create('a', { listen: false });
    if (speaks) await a.connect(name);
    else await expect(a.connect(name)).rejects.toMatchObject({ code: 'node_certificate_mismatch' });
    expect(a.stats().connectedNodes).toBe(speaks ? 1 : 0);
  });

  it.each([
    ['LOCALHOST', '127.0.0.1'],
    ['::1', '::1'],
    ['0:0:0:0:0:0:0:1', '::1'],
  ])('L-14 %s is dialled by the name of the node alone', async (host, listen) => {
    const ip = host.includes(':');
    const [cluster, b] = await served(`b@${host}`, listen, { names: ip ? { ip: ['::1'] } : { dns: ['localhost'] } });
    await using _ = cluster;
    const nodes = { [b.name]: { port: b.endpoints()[0]?.port ?? 0 } };
    const caller = `a@${host}`;
    const options = { listen: false, nodes, tls: await tlsOf(caller) } as const;
    const a = cluster.create(caller, { ...options, discovery: undefined } as never);
    await expect(a.call(b.name, 'canary', 'sing')).resolves.toBe('la');
  });
});
