/** The door of a node as strangers meet it: handshakes step by step, beside a caller that must not notice any of it. */
import type { ConnectionOptions } from 'node:tls';
import { expect } from 'vitest';
import type { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import { FrameType, type Frame } from '../../lib/protocol/frame.js';
import { deriveKeys, proveClient, proveServer, transcript, type RoleKeys } from '../../lib/protocol/handshake.js';
import {
  decodeReject,
  handshakeFrame,
  HandshakeType,
  type Reject,
  type ServerHello,
} from '../../lib/protocol/handshake-frames.js';
import { Cluster, SECRET, type NodeSettings, type SocketDriver } from './cluster.js';
import { helloFor, RawPeer, serverHello } from './raw-peer.js';
import { tlsPeer } from './tls-peer.js';

export const OTHER_SECRET = 'another-long-cookie-for-tests-4567';

/** Waits, a turn of the loop at a time, until `check` holds. */
export async function until(check: () => boolean): Promise<void> {
  const end = performance.now() + 15_000;
  while (!check()) {
    if (performance.now() > end) throw new Error(`waited in vain until ${String(check)}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

export function keysOf(secret = SECRET): RoleKeys {
  return deriveKeys(new TextEncoder().encode(secret));
}

/** What both sides of a handshake have said before any proof. */
export interface Greeting {
  readonly hello: Buffer;
  readonly answer: Buffer;
  readonly script: Uint8Array;
}

/** As a client: HELLO out, HELLO back. */
export async function greet(peer: RawPeer, hello: Buffer): Promise<Greeting> {
  peer.send(hello);
  const { frame } = await peer.handshake(HandshakeType.ServerHello);
  return { hello, answer: frame, script: transcript(hello, frame, peer.binding) };
}

/** A stranger who has said hello to `node` and waits. */
export async function helloFrom(cluster: Cluster, node: string): Promise<RawPeer> {
  const peer = await dialTo(cluster, node);
  await greet(peer, helloFor('stranger@127.0.0.1', node));
  return peer;
}

/** As a server that calls itself `node`: HELLO in, HELLO back. */
export async function answerAs(peer: RawPeer, node: string, changes: Partial<ServerHello> = {}): Promise<Greeting> {
  const { frame: hello } = await peer.handshake(HandshakeType.ClientHello);
  const answer = serverHello(node, changes);
  peer.send(answer);
  return { hello, answer, script: transcript(hello, answer, peer.binding) };
}

/** As a server that knows the secret: proof in, verdict out. */
export async function admit(peer: RawPeer, { script }: Greeting): Promise<void> {
  const { body } = await peer.handshake(HandshakeType.Proof);
  peer.send(handshakeFrame(HandshakeType.Accept, proveServer(keysOf(), script, body)));
  peer.startFrames();
}

export function proofFrame(script: Uint8Array, secret = SECRET): Buffer {
  return handshakeFrame(HandshakeType.Proof, proveClient([keysOf(secret)], script));
}

/** Reads the refusal that must come now, and waits for the end of the connection. */
export async function refusalOf(peer: RawPeer): Promise<Reject> {
  const { body } = await peer.handshake(HandshakeType.Reject);
  await peer.closed();
  return decodeReject(body);
}

export function portOf(cluster: Cluster, node: string): number {
  return cluster.discovery.locations.get(node)?.port ?? 0;
}

/** Those with sockets: a cluster in memory has none that a stranger could have too. */
export function socketDriverOf({ driver }: Cluster): SocketDriver {
  return driver === 'tls' ? 'tls' : 'tcp';
}

/** A stranger's connection to `node`, as the nodes of the cluster would make it. */
function dialTo(cluster: Cluster, node: string): Promise<RawPeer> {
  return RawPeer.dial(socketDriverOf(cluster), portOf(cluster, node));
}

/** From here on discovery says that `node` is on this port. */
export function redirect(cluster: Cluster, node: string, port: number): void {
  cluster.discovery.locations.set(node, { driver: socketDriverOf(cluster), host: '127.0.0.1', port });
}

/** A call of the canary, as an authenticated client would send it. */
export const CANARY_CALL: Frame = {
  type: FrameType.Call,
  id: 1,
  name: { module: 'canary', fn: 'sing', version: '' },
  timeoutMs: 1000,
  single: false,
  headers: undefined,
  payload: { kind: 'codec', bytes: Buffer.of(0x90) },
};

/** `b` with a canary behind its door, and `healthy`, which is connected to it all the while. */
export class Door {
  readonly name = 'b@127.0.0.1';
  /** One entry for each time that the canary ran. */
  readonly sang: string[] = [];
  private readonly peers: RawPeer[] = [];

  private constructor(
    readonly cluster: Cluster,
    readonly port: number,
    readonly node: GenRpcNode,
    private readonly healthy: GenRpcNode,
  ) {
    node.register('canary', { sing: (_args, { caller }) => this.sang.push(caller.node) });
    node.register('health', { ping: () => 'pong' });
  }

  /** @param options of `b`. */
  static async open(driver: SocketDriver, options: NodeSettings = {}): Promise<Door> {
    const cluster = new Cluster({ driver });
    const node = await cluster.start('b', options);
    const port = portOf(cluster, node.name);
    const healthy = cluster.create('healthy', { listen: false, secret: options.secret ?? SECRET });
    const door = new Door(cluster, port, node, healthy);
    await door.healthy.connect(door.name);
    return door;
  }

  get counts() {
    return this.node.stats().counts;
  }

  /** The healthy caller calls. */
  ping(): Promise<unknown> {
    return this.healthy.call(this.name, 'health', 'ping');
  }

  /** A stranger's connection, to `b` unless told otherwise. */
  async dial({ from, port = this.port }: { from?: string; port?: number } = {}): Promise<RawPeer> {
    return this.kept(await RawPeer.dial(socketDriverOf(this.cluster), port, from));
  }

  /** One in the clear, whatever `b` speaks. */
  async dialPlain(): Promise<RawPeer> {
    return this.kept(await RawPeer.dial('tcp', this.port));
  }

  /** One over TLS, with the certificate that everybody has unless told otherwise. */
  async dialTls(options: ConnectionOptions = {}): Promise<RawPeer> {
    return this.kept(await tlsPeer(this.port, options));
  }

  private kept(peer: RawPeer): RawPeer {
    this.peers.push(peer);
    return peer;
  }

  /** Nobody is left at the door, the healthy caller noticed nothing, and every line of the log is one printable line. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const peer of this.peers) peer.destroy();
    await until(() => this.node.stats().handshakes === 0);
    expect(await this.ping()).toBe('pong');
    expect(this.healthy.stats().counts).toEqual({ dialled: 1, connected: 1 });
    for (const line of this.cluster.log.lines) expect(line).toMatch(/^[\x20-\x7e…]+$/);
    await this.cluster[Symbol.asyncDispose]();
  }
}
