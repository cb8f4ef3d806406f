/** A peer that speaks bytes: what a well-behaved node would send, and whatever else a test wants to. */
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { randomBytes } from 'node:crypto';
import { FrameDecoder } from '../../lib/protocol/frame-decoder.js';
import { FrameEncoder } from '../../lib/protocol/frame-encoder.js';
import {
  FrameType,
  HEADER_BYTES,
  MAX_CHUNK_BYTES,
  MAX_WHOLE_BYTES,
  type ChunkFrame,
  type CreditFrame,
  type Frame,
  type PayloadFrame,
} from '../../lib/protocol/frame.js';
import { deriveKeys, proveClient, proveServer, transcript, verifyClient } from '../../lib/protocol/handshake.js';
import {
  decodeServerHello,
  encodeClientHello,
  encodeServerHello,
  handshakeFrame,
  HandshakeReader,
  HandshakeType,
  type ClientHello,
  type ServerHello,
} from '../../lib/protocol/handshake-frames.js';
import { costOf } from '../../lib/connection/credit.js';
import { WriteBatch } from '../../lib/connection/write-batch.js';
import { SECRET, type SocketDriver } from './cluster.js';
import { Messages } from './frames.js';
import { acceptTls, bindingOf, dialSocket } from './raw-socket.js';

/** The bytes of frames, as a node would write them; of what is large, all its chunks behind it. */
export function bytesOf(...frames: readonly Frame[]): Buffer {
  const batch = new WriteBatch();
  const encoder = new FrameEncoder();
  const parts: Uint8Array[] = [];
  for (const frame of frames) {
    if ('payload' in frame && frame.total !== undefined) {
      parts.push(...batch.take(), headOf(frame, frame.total));
    } else {
      encoder.encode(frame, batch);
      for (const chunk of chunksOf(frame)) encoder.encode(chunk, batch);
    }
  }
  return Buffer.concat([...parts, ...batch.take()]);
}

/** What stands in front of the chunks of a message that is announced to be this long. */
export function headOf(frame: PayloadFrame, total: number): Buffer {
  const batch = new WriteBatch();
  const { payload } = frame;
  new FrameEncoder().encode({ ...frame, payload: { ...payload, bytes: Buffer.alloc(MAX_WHOLE_BYTES + 1) } }, batch);
  const bytes = Buffer.concat(batch.take());
  bytes.writeUInt32BE(total, HEADER_BYTES);
  return bytes;
}

/** The chunks that carry the payload of a frame that is too large to hold it. */
export function chunksOf(frame: Frame, size = MAX_CHUNK_BYTES): ChunkFrame[] {
  if (!('payload' in frame) || frame.payload.bytes.length <= MAX_WHOLE_BYTES) return [];
  const bytes = Buffer.from(frame.payload.bytes);
  const id = 'id' in frame ? frame.id : 0;
  return Array.from({ length: Math.ceil(bytes.length / size) }, (_, index): ChunkFrame => {
    const end = (index + 1) * size;
    return { type: FrameType.Chunk, id, bytes: bytes.subarray(index * size, end), more: end < bytes.length };
  });
}

/** A frame header followed by a body, whatever they say. */
export function rawFrame(
  type: number,
  flags: number,
  stream: number,
  body: Uint8Array,
  declared = body.length,
): Buffer {
  const header = Buffer.alloc(12);
  header.writeUInt32BE(declared >>> 0, 0);
  header[4] = type;
  header[5] = flags;
  header.writeUInt32BE(stream, 8);
  return Buffer.concat([header, body]);
}

export function helloFor(node: string, wanted: string, changes: Partial<ClientHello> = {}): Buffer {
  return handshakeFrame(
    HandshakeType.ClientHello,
    encodeClientHello({
      minVersion: 1,
      maxVersion: 1,
      features: 0,
      nonce: randomBytes(32),
      incarnation: randomBytes(16),
      node,
      wanted,
      maxMessageBytes: 4 * 1024 * 1024,
      keepaliveMs: 0,
      codecs: ['msgpackr'],
      ...changes,
    }),
  );
}

export function serverHello(node: string, changes: Partial<ServerHello> = {}): Buffer {
  return handshakeFrame(
    HandshakeType.ServerHello,
    encodeServerHello({
      version: 1,
      features: 0,
      nonce: randomBytes(32),
      incarnation: randomBytes(16),
      node,
      maxMessageBytes: 4 * 1024 * 1024,
      keepaliveMs: 0,
      codec: 'msgpackr',
      ...changes,
    }),
  );
}

/** A socket under a test's thumb. */
export class RawPeer {
  readonly received: Buffer[] = [];
  /** Whole messages, and what else came but grants. */
  readonly frames: Frame[] = [];
  /** What the other side granted. */
  readonly grants: CreditFrame[] = [];
  /** Does it grant again whatever it has received, as one that reads at once does? */
  granting = true;
  /** Are messages put together? Otherwise `frames` has their heads and their chunks. */
  gathering = true;
  ended = false;
  private readonly decoder = new FrameDecoder(64 * 1024 * 1024);
  private readonly incoming = new Messages();
  /** By stream, what has arrived and was not granted again. */
  private readonly owed = new Map<number, { connection: number; stream: number }>();
  private decoding = false;
  private readonly waiters = new Set<() => void>();
  private readonly reader = new HandshakeReader();
  private unread: Buffer[] = [];

  /**
   * @param socket what it speaks over
   * @param under what that goes over, where it is TLS
   */
  constructor(
    readonly socket: Socket,
    private readonly under = socket,
  ) {
    under.setNoDelay(true);
    socket.on('data', (bytes) => {
      this.received.push(bytes);
      if (this.decoding) this.decode(bytes);
      else this.unread.push(bytes);
      this.wake();
    });
    socket.on('error', () => {});
    socket.on('close', () => {
      this.ended = true;
      this.wake();
    });
  }

  /** Resolves once it is connected, over TLS once that is set up. */
  static async dial(driver: SocketDriver, port: number, from?: string): Promise<RawPeer> {
    const { socket, under, ready } = dialSocket(driver, port, from === undefined ? {} : { localAddress: from });
    const peer = new RawPeer(socket, under);
    await ready;
    return peer;
  }

  /** As both ends of this channel know it. */
  get binding(): Uint8Array {
    return bindingOf(this.socket);
  }

  send(...parts: readonly Uint8Array[]): void {
    for (const part of parts) this.socket.write(part);
  }

  /** Waits until `check` holds; every arrival and the end wake it. */
  async until(check: () => boolean): Promise<void> {
    while (!check()) {
      if (this.ended) throw new Error('the peer closed the connection');
      await new Promise<void>((resolve) => this.waiters.add(resolve));
    }
  }

  /** Resolves once the other side has closed. */
  async closed(): Promise<void> {
    while (!this.ended) await new Promise<void>((resolve) => this.waiters.add(resolve));
  }

  /** The next handshake frame of these types. */
  async handshake(...types: HandshakeType[]): Promise<{ type: HandshakeType; frame: Buffer; body: Buffer }> {
    for (;;) {
      const bytes = Buffer.concat(this.unread);
      this.unread = [];
      const frame = this.reader.next(bytes, ...types);
      if (frame !== undefined) return frame;
      await this.until(() => this.unread.length > 0);
    }
  }

  /** From here on arrivals are frames of a connection, gathered in `frames`. */
  startFrames(): void {
    this.decoding = true;
    const bytes = Buffer.concat([this.reader.rest, ...this.unread]);
    this.unread = [];
    if (bytes.length > 0) this.decode(bytes);
  }

  /** The whole handshake as a client that knows the secret. */
  async login(node: string, wanted: string, changes: Partial<ClientHello> = {}, secret = SECRET): Promise<this> {
    const hello = helloFor(node, wanted, changes);
    this.send(hello);
    const answer = await this.handshake(HandshakeType.ServerHello);
    decodeServerHello(answer.body);
    const script = transcript(hello, answer.frame, this.binding);
    this.send(handshakeFrame(HandshakeType.Proof, proveClient([deriveKeys(new TextEncoder().encode(secret))], script)));
    await this.handshake(HandshakeType.Accept);
    this.startFrames();
    return this;
  }

  /**
   * The whole handshake as a server named `node` that knows the secret.
   * @param behind sent in the same breath as its last frame
   */
  async welcome(node: string, secret = SECRET, ...behind: readonly Frame[]): Promise<this> {
    const keys = deriveKeys(new TextEncoder().encode(secret));
    const hello = await this.handshake(HandshakeType.ClientHello);
    const answer = serverHello(node);
    this.send(answer);
    const proof = await this.handshake(HandshakeType.Proof);
    const script = transcript(hello.frame, answer, this.binding);
    if (verifyClient([keys], script, proof.body) === undefined) throw new Error('the client proved nothing');
    const accept = handshakeFrame(HandshakeType.Accept, proveServer(keys, script, proof.body));
    this.send(Buffer.concat([accept, bytesOf(...behind)]));
    this.startFrames();
    return this;
  }

  /** From here on it grants nothing by itself, and frames are gathered as they come. */
  count(): this {
    this.granting = false;
    this.gathering = false;
    return this;
  }

  destroy(): void {
    this.socket.destroy();
  }

  /** A reset of the connection, whatever is spoken over it. */
  reset(): void {
    this.under.resetAndDestroy();
  }

  /** Grants what has arrived since the last time; by itself, unless `granting` is off. */
  grant(): void {
    for (const [id, owed] of this.owed) this.send(bytesOf({ type: FrameType.Credit, id, ...owed }));
    this.owed.clear();
  }

  private decode(bytes: Buffer): void {
    this.decoder.push(bytes, (frame) => this.onFrame(frame));
    this.frames.push(...this.incoming.messages.splice(0));
    if (this.granting) this.grant();
  }

  private onFrame(frame: Frame): void {
    if (frame.type === FrameType.Credit) return void this.grants.push(frame);
    if (frame.type === FrameType.Chunk) this.owe(0, frame.bytes.length, 0);
    if (frame.type === FrameType.Item) {
      this.owe(frame.id, costOf(frame.payload.bytes.length), costOf(frame.total ?? frame.payload.bytes.length));
    }
    if (frame.type === FrameType.Cast) this.owe(0, 0, costOf(frame.total ?? frame.payload.bytes.length));
    if (this.gathering) this.incoming.take(frame);
    else this.frames.push(frame);
  }

  private owe(id: number, connection: number, stream: number): void {
    const owed = this.owed.get(id) ?? { connection: 0, stream: 0 };
    this.owed.set(id, { connection: owed.connection + connection, stream: owed.stream + stream });
  }

  private wake(): void {
    for (const waiter of this.waiters) waiter();
    this.waiters.clear();
  }
}

/** A listener whose connections a test answers byte by byte. */
export class RawServer {
  readonly peers: RawPeer[] = [];
  /** All that were accepted: over TLS, also those that have not come to speak yet. */
  private readonly sockets: Socket[] = [];
  private readonly waiters: ((peer: RawPeer) => void)[] = [];
  private taken = 0;

  private constructor(
    private readonly server: Server,
    readonly port: number,
    private readonly onPeer: (peer: RawPeer) => void,
  ) {}

  /** @param onPeer called for each connection, over TLS once that is set up */
  static async listen(driver: SocketDriver, onPeer: (peer: RawPeer) => void = () => {}): Promise<RawServer> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const raw = new RawServer(server, (server.address() as AddressInfo).port, onPeer);
    server.on('connection', (socket) => {
      raw.sockets.push(socket);
      if (driver === 'tcp') raw.add(new RawPeer(socket));
      else acceptTls(socket, (tls) => raw.add(new RawPeer(tls, socket)));
    });
    return raw;
  }

  /** The next connection that nobody has asked for yet. */
  async accept(): Promise<RawPeer> {
    const peer = this.peers[this.taken];
    if (peer === undefined) return new Promise((resolve) => this.waiters.push(resolve));
    this.taken += 1;
    return peer;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.sockets) socket.destroy();
    await new Promise<void>((resolve) => this.server.close(() => resolve()));
  }

  private add(peer: RawPeer): void {
    this.peers.push(peer);
    this.onPeer(peer);
    const waiter = this.waiters.shift();
    if (waiter === undefined) return;
    this.taken += 1;
    waiter(peer);
  }
}
