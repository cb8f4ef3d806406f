/** The table of errors: what makes each of them happen to a call, whichever verb makes it. */
import type { Occurrence } from '../../lib/connection/journal.js';
import type { CallOptions, ModuleRef } from '../../lib/node/call-options.js';
import type { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import type { ErrorFamily, GenRpcErrorCode } from '../../lib/protocol/errors.js';
import { FrameType, type Frame } from '../../lib/protocol/frame.js';
import { encodeReject, handshakeFrame, HandshakeType } from '../../lib/protocol/handshake-frames.js';
import { Cluster, type NodeSettings } from '../support/cluster.js';
import { OTHER_SECRET, redirect, until } from '../support/door.js';
import { bytesOf, RawServer, type RawPeer } from '../support/raw-peer.js';

export const B = 'b@127.0.0.1';
const NO_PAYLOAD = { kind: 'none', bytes: new Uint8Array(0) } as const;
export const REMOTE = 'secret detail of the other node';

/** A caller, and whoever it calls. */
interface Ground extends AsyncDisposable {
  readonly a: GenRpcNode;
  /** The callee, where there is a real one. */
  readonly b?: GenRpcNode;
  /** Makes happen what the call is to meet, once it was made. */
  readonly happens?: () => Promise<void>;
  readonly options?: CallOptions;
}

/** One line of the table of errors. */
export interface Row {
  /** As gen_rpc says it. */
  readonly gen: string;
  readonly code: GenRpcErrorCode;
  readonly family: ErrorFamily;
  readonly maybeExecuted: boolean;
  readonly ground: () => Promise<Ground>;
  readonly what: readonly [module: ModuleRef, fn: string, args?: readonly unknown[]];
  /** `undefined`: this error is of no use to it. */
  readonly sbcast?: 'good' | 'bad';
  /** What is counted of a cast, here and there, that was accepted; or that it throws. */
  readonly cast?: { here?: Counts; there?: Counts } | 'throws';
}

export type Counts = Partial<Record<Occurrence, number>>;

/** A real `b`, and `a`, not connected yet. */
export async function realPair(options: NodeSettings = {}, ofA: NodeSettings = {}): Promise<Ground> {
  const cluster = new Cluster();
  const b = await cluster.start('b', { moduleControl: 'blacklist', moduleList: ['closed'], ...options });
  b.register('math', {
    add: ([x, y]: [number, number]) => x + y,
    fail: function remoteFunction() {
      throw new Error(REMOTE);
    },
  });
  b.register('closed', { fn: () => 'ran' });
  b.register('versioned', { fn: () => 'ran' }, { version: '1.0.0' });
  const a = cluster.create('a', { listen: false, ...ofA });
  return { a, b, [Symbol.asyncDispose]: () => cluster[Symbol.asyncDispose]() };
}

async function connectedPair(options: NodeSettings = {}): Promise<Ground> {
  const pair = await realPair(options, options);
  await pair.a.connect(B);
  return pair;
}

/** A peer that does as `act` says at each frame of `a`, instead of `b`. */
async function rawPair(act: (peer: RawPeer, frame: Frame) => void, options: CallOptions = {}): Promise<Ground> {
  const cluster = new Cluster();
  const server = await RawServer.listen('tcp', (peer) => void peer.welcome(B).then(() => obey(peer)));
  const obey = async (peer: RawPeer): Promise<void> => {
    for (let done = 0; ; done += 1) {
      await peer.until(() => peer.frames.length > done).catch(() => {});
      const frame = peer.frames[done];
      if (frame === undefined) return;
      act(peer, frame);
    }
  };
  redirect(cluster, B, server.port);
  const over = async (): Promise<void> => {
    await cluster[Symbol.asyncDispose]();
    await server[Symbol.asyncDispose]();
  };
  return { a: cluster.create('a', { listen: false }), options, [Symbol.asyncDispose]: over };
}

/** Answers every call by a frame. */
function answers(frameOf: (id: number) => Frame): () => Promise<Ground> {
  return () =>
    rawPair((peer, frame) => {
      if (frame.type === FrameType.Call) peer.send(bytesOf(frameOf(frame.id)));
    });
}

async function cancelledPair(): Promise<Ground> {
  const controller = new AbortController();
  let arrived = false;
  const ground = await rawPair(() => (arrived = true), { signal: controller.signal });
  const happens = async (): Promise<void> => {
    await until(() => arrived);
    controller.abort();
  };
  return { ...ground, happens };
}

/** The system takes no byte any more from `a`. */
async function stuckPair(): Promise<Ground> {
  const cluster = new Cluster({ virtual: { seed: 1 } });
  await cluster.start('b');
  const a = cluster.create('a', { listen: false });
  await a.connect(B);
  for (const link of cluster.network.links) link.hold();
  const happens = async (): Promise<void> => cluster.clock?.advance(5001);
  return { a, happens, [Symbol.asyncDispose]: () => cluster[Symbol.asyncDispose]() };
}

/** `b` closes while the call runs there. */
async function closingPair(): Promise<Ground> {
  const pair = await realPair();
  let begun = false;
  pair.b?.register('slow', { fn: () => new Promise(() => (begun = true)) });
  const happens = async (): Promise<void> => {
    await until(() => begun);
    await pair.b?.close();
  };
  return { ...pair, happens };
}

async function rejectingPair(): Promise<Ground> {
  const cluster = new Cluster();
  const reject = encodeReject({ reason: 2, minVersion: 7, maxVersion: 9 });
  const server = await RawServer.listen('tcp', (peer) => peer.send(handshakeFrame(HandshakeType.Reject, reject)));
  redirect(cluster, B, server.port);
  const over = async (): Promise<void> => {
    await cluster[Symbol.asyncDispose]();
    await server[Symbol.asyncDispose]();
  };
  return { a: cluster.create('a', { listen: false }), [Symbol.asyncDispose]: over };
}

async function lonely(options: NodeSettings = {}): Promise<Ground> {
  const cluster = new Cluster();
  const discovery = { resolve: () => Promise.reject(new Error('etcd is down')) };
  const a = cluster.create('a', {
    listen: false,
    ...(options.clientPort === undefined ? { discovery } : {}),
    ...options,
  });
  return { a, [Symbol.asyncDispose]: () => cluster[Symbol.asyncDispose]() };
}

async function wrongNodePair(): Promise<Ground> {
  const cluster = new Cluster();
  const other = await cluster.start('other');
  redirect(cluster, B, cluster.discovery.locations.get(other.name)?.port ?? 0);
  const a = cluster.create('a', { listen: false });
  return { a, [Symbol.asyncDispose]: () => cluster[Symbol.asyncDispose]() };
}

const REFUSED_THERE = { there: { cast_failed: 1, call_refused: 1 } };

export const ROWS: readonly Row[] = [
  {
    ...{ gen: '{badrpc, timeout}', code: 'timeout', family: 'badrpc', maybeExecuted: true },
    ...{ ground: () => rawPair(() => {}, { timeout: 500 }), what: ['math', 'add', [1, 2]], sbcast: 'bad', cast: {} },
  },
  {
    ...{ gen: '{badrpc, nodedown}', code: 'node_down', family: 'badrpc', maybeExecuted: false },
    ...{ ground: () => lonely({ clientPort: 1 }), what: ['math', 'add', [1, 2]], sbcast: 'bad' },
    cast: { here: { dial_failed: 1, cast_dropped: 1 } },
  },
  {
    ...{ gen: '{badrpc, unauthorized}', code: 'unauthorized', family: 'badrpc', maybeExecuted: false },
    ...{ ground: realPair, what: ['closed', 'fn'], sbcast: 'bad', cast: REFUSED_THERE },
  },
  {
    ...{ gen: '{badrpc, incompatible}', code: 'incompatible', family: 'badrpc', maybeExecuted: false },
    ...{ ground: realPair, what: [{ module: 'versioned', version: '2.0.0' }, 'fn'], cast: REFUSED_THERE },
  },
  {
    ...{ gen: "{'EXIT', {undef, …}}", code: 'undefined_function', family: 'badrpc', maybeExecuted: false },
    ...{ ground: realPair, what: ['math', 'ad', [1, 2]], sbcast: 'bad', cast: REFUSED_THERE },
  },
  {
    ...{ gen: "{'EXIT', Reason}", code: 'handler_failed', family: 'badrpc', maybeExecuted: true },
    ...{ ground: realPair, what: ['math', 'fail'], sbcast: 'good' },
    cast: { there: { cast_failed: 1, handler_failed: 1 } },
  },
  {
    ...{ gen: '{badrpc, invalid_cookie}', code: 'invalid_cookie', family: 'badrpc', maybeExecuted: false },
    ...{ ground: () => realPair({ secret: OTHER_SECRET }), what: ['math', 'add', [1, 2]], sbcast: 'bad' },
    cast: { here: { dial_failed: 1, peer_auth_failed: 1, cast_dropped: 1 }, there: { auth_failed: 1 } },
  },
  {
    ...{ gen: '{external_source_error, R}', code: 'external_source_error', family: 'badrpc', maybeExecuted: false },
    ...{ ground: lonely, what: ['math', 'add', [1, 2]], sbcast: 'bad' },
    cast: { here: { dial_failed: 1, cast_dropped: 1 } },
  },
  {
    ...{ gen: '{badrpc, erroneous_data}', code: 'protocol_error', family: 'badrpc', maybeExecuted: true },
    ground: answers((id) => ({ type: FrameType.Result, id, payload: { kind: 'codec', bytes: Buffer.of(0xc1) } })),
    ...{ what: ['math', 'add', [1, 2]], sbcast: 'bad' },
  },
  {
    ...{ gen: '{badtcp, closed}', code: 'connection_lost', family: 'badtcp', maybeExecuted: true },
    ...{ ground: () => rawPair((peer) => peer.destroy()), what: ['math', 'add', [1, 2]], sbcast: 'bad' },
    cast: { here: { connection_lost: 1 } },
  },
  {
    ...{ gen: 'a send that timed out', code: 'send_timeout', family: 'badtcp', maybeExecuted: false },
    ...{ ground: stuckPair, what: ['math', 'add', [1, 2]], sbcast: 'bad' },
    cast: { here: { connection_lost: 1, cast_dropped: 1 } },
  },
  {
    ...{ gen: 'ours', code: 'cancelled', family: 'badrpc', maybeExecuted: true },
    ...{ ground: cancelledPair, what: ['math', 'add', [1, 2]], sbcast: 'bad' },
  },
  {
    ...{ gen: 'ours', code: 'shutting_down', family: 'badrpc', maybeExecuted: true },
    ...{ ground: closingPair, what: ['slow', 'fn'], sbcast: 'good' },
  },
  {
    ...{ gen: 'ours', code: 'refused', family: 'badrpc', maybeExecuted: false },
    ground: answers((id) => ({ type: FrameType.Error, id, code: 'refused', message: 'full', payload: NO_PAYLOAD })),
    ...{ what: ['math', 'add', [1, 2]], sbcast: 'bad' },
  },
  {
    ...{ gen: 'ours', code: 'encode_error', family: 'badrpc', maybeExecuted: false },
    ...{ ground: connectedPair, what: ['math', 'add', [() => 1]], cast: 'throws' },
  },
  {
    ...{ gen: 'ours', code: 'message_too_large', family: 'badrpc', maybeExecuted: false },
    ground: () => connectedPair({ maxMessageBytes: 1024 }),
    ...{ what: ['math', 'add', [Buffer.alloc(2000)]], cast: 'throws' },
  },
  {
    ...{ gen: 'ours', code: 'wrong_node', family: 'badtcp', maybeExecuted: false },
    ...{ ground: wrongNodePair, what: ['math', 'add', [1, 2]], sbcast: 'bad' },
    cast: { here: { dial_failed: 1, wrong_node: 1, cast_dropped: 1 } },
  },
  {
    ...{ gen: 'ours', code: 'version_mismatch', family: 'badtcp', maybeExecuted: false },
    ...{ ground: rejectingPair, what: ['math', 'add', [1, 2]], sbcast: 'bad' },
    cast: { here: { dial_failed: 1, version_mismatch: 1, cast_dropped: 1 } },
  },
];
