/** The handshake over a channel: a `Connection`, or a throw. There is no other way to get one. */
import { createHash } from 'node:crypto';
import type { Channel, PeerCertificate } from '../driver/driver.js';
import type { Compression } from '../protocol/compression.js';
import { GenRpcError, isGenRpcError } from '../protocol/errors.js';
import { PROTOCOL_VERSION } from '../protocol/frame.js';
import { FrameDecoder } from '../protocol/frame-decoder.js';
import { FrameEncoder } from '../protocol/frame-encoder.js';
import {
  INCARNATION_BYTES,
  LIFE_BYTES,
  NONCE_BYTES,
  proveClient,
  proveServer,
  transcript,
  verifyClient,
  verifyServer,
  type RoleKeys,
} from '../protocol/handshake.js';
import {
  decodeClientHello,
  decodeReject,
  decodeServerHello,
  encodeClientHello,
  encodeServerHello,
  Feature,
  handshakeFrame,
  HandshakeType,
  MANDATORY_FEATURES,
  RejectReason,
  type ClientHello,
  type ServerHello,
} from '../protocol/handshake-frames.js';
import { isNodeName, printable } from '../protocol/node-name.js';
import type { Codec } from '../protocol/payload.js';
import type { Clock } from '../ports/clock.js';
import type { Random } from '../ports/random.js';
import { Connection } from './connection.js';
import type { ConnectionSettings, Peer } from './wire.js';
import { HandshakeChannel } from './handshake-channel.js';
import { agreedKeepalive } from './heartbeat.js';
import { features, rejected, unproven, versions } from './refusals.js';

/** Who this node is, and what it brings to every handshake. */
export interface Identity {
  readonly node: string;
  readonly incarnation: Uint8Array;
  /** Newest first. */
  readonly keys: readonly RoleKeys[];
  /** Best first. */
  readonly codecs: readonly Codec[];
  readonly settings: ConnectionSettings;
  /** `undefined`: payloads are neither sent nor taken compressed. */
  readonly compression: Compression | undefined;
  readonly clock: Clock;
  readonly random: Random;
}

/** One handshake: over what, and how long it may take. */
export interface HandshakeTask {
  readonly channel: Channel;
  readonly timeoutMs: number;
}

/** What a handshake yields: a connection that nobody owns yet, and bytes that came behind the handshake. */
export interface Authenticated {
  readonly connection: Connection;
  readonly early: Buffer;
}

/**
 * Which life of a node this is, and which process of it, half the bytes each. Both are drawn, so that a restart is
 * another life; processes that are to be one node are given a name for their life instead.
 */
export function newIncarnation(random: Random, life?: string): Uint8Array {
  const drawn = random.bytes(INCARNATION_BYTES);
  if (life === undefined) return drawn;
  const named = createHash('sha256').update(life).digest().subarray(0, LIFE_BYTES);
  return Buffer.concat([named, drawn.subarray(LIFE_BYTES)]);
}

/**
 * The calling side.
 * @throws GenRpcError `node_certificate_mismatch`, `invalid_cookie`, `wrong_node`, `version_mismatch`,
 * `protocol_error`, `timeout`, `connection_lost`; the channel is gone then.
 */
export async function initiate(self: Identity, wanted: string, task: HandshakeTask): Promise<Authenticated> {
  const talk = new HandshakeChannel(task.channel, self.clock, task.timeoutMs);
  try {
    const isTls = checkCertificate(talk.channel, wanted);
    const hello = handshakeFrame(HandshakeType.ClientHello, encodeClientHello(helloOf(self, wanted)));
    talk.send(hello);
    const saidAt = self.clock.now();
    const answer = await talk.receive(HandshakeType.ServerHello, HandshakeType.Reject);
    const rttMs = self.clock.now() - saidAt;
    if (answer.type === HandshakeType.Reject) throw rejected(decodeReject(answer.body), wanted, isTls);
    const server = decodeServerHello(answer.body);
    const codec = checkServer(self, wanted, server);
    const script = transcript(hello, answer.frame, task.channel.channelBinding);
    const proofs = proveClient(self.keys, script);
    talk.send(handshakeFrame(HandshakeType.Proof, proofs));
    const verdict = await verdictOf(talk, wanted);
    if (verdict.type === HandshakeType.Reject) throw rejected(decodeReject(verdict.body), wanted, isTls);
    if (!verifyServer(self.keys, script, proofs, verdict.body)) throw unproven(wanted);
    const early = talk.finish();
    return { connection: connectionOf(self, talk.channel, server, codec, rttMs), early };
  } catch (error) {
    throw talk.fail(error);
  }
}

/**
 * The answering side. `admit` is asked once the peer has proved itself, before it is told so.
 * @throws GenRpcError as `initiate` does; the channel is gone then.
 */
export async function respond(
  self: Identity,
  task: HandshakeTask,
  admit: (peer: Peer) => boolean,
): Promise<Connection> {
  const talk = new HandshakeChannel(task.channel, self.clock, task.timeoutMs);
  try {
    const hello = await talk.receive(HandshakeType.ClientHello);
    const client = decodeClientHello(hello.body);
    const codec = checkClient(self, client, talk);
    const answer = handshakeFrame(HandshakeType.ServerHello, encodeServerHello(answerOf(self, client, codec)));
    talk.send(answer);
    const saidAt = self.clock.now();
    const proof = await talk.receive(HandshakeType.Proof);
    const rttMs = self.clock.now() - saidAt;
    const script = transcript(hello.frame, answer, task.channel.channelBinding);
    const key = verifyClient(self.keys, script, proof.body);
    if (key === undefined) {
      throw talk.reject(
        RejectReason.Denied,
        new GenRpcError('invalid_cookie', `${client.node} does not know the secret.`),
      );
    }
    if (talk.finish().length > 0) throw new GenRpcError('protocol_error', 'The client sent frames before the verdict.');
    const connection = connectionOf(self, talk.channel, client, codec, rttMs);
    if (!admit(connection.peer)) {
      const error = new GenRpcError('refused', `${client.node} is connected already, from another process.`);
      throw talk.reject(RejectReason.Duplicate, error);
    }
    talk.send(handshakeFrame(HandshakeType.Accept, proveServer(key, script, proof.body)));
    return connection;
  } catch (error) {
    throw talk.fail(error);
  }
}

function helloOf(self: Identity, wanted: string): ClientHello {
  return {
    minVersion: PROTOCOL_VERSION,
    maxVersion: PROTOCOL_VERSION,
    features: featuresOf(self),
    nonce: self.random.bytes(NONCE_BYTES),
    incarnation: self.incarnation,
    node: self.node,
    wanted,
    maxMessageBytes: self.settings.maxMessageBytes,
    keepaliveMs: self.settings.keepalive?.idle ?? 0,
    codecs: self.codecs.map((codec) => codec.id),
  };
}

function featuresOf(self: Identity): number {
  return self.compression === undefined ? 0 : Feature.Compression;
}

/** Of what the client offers, the server takes what it has too. */
function answerOf(self: Identity, client: ClientHello, codec: Codec): ServerHello {
  return {
    version: PROTOCOL_VERSION,
    features: client.features & featuresOf(self),
    nonce: self.random.bytes(NONCE_BYTES),
    incarnation: self.incarnation,
    node: self.node,
    maxMessageBytes: self.settings.maxMessageBytes,
    keepaliveMs: self.settings.keepalive?.idle ?? 0,
    codec: codec.id,
  };
}

/** Whoever holds another node's certificate is told nothing. Returns whether there are certificates here. */
function checkCertificate({ certificate, remoteAddress }: Channel, wanted: string): boolean {
  const mismatch = certificate?.mismatch(wanted);
  if (mismatch === undefined) return certificate !== undefined;
  const message = `The certificate at ${remoteAddress} does not speak for ${wanted}: ${mismatch}.`;
  throw new GenRpcError('node_certificate_mismatch', message, { details: { wanted, names: certificate?.names } });
}

function checkServer(self: Identity, wanted: string, server: ServerHello): Codec {
  if (server.version !== PROTOCOL_VERSION) throw versions(wanted, server.version, server.version);
  if ((server.features & MANDATORY_FEATURES) !== 0) throw features(wanted, server.features);
  if (server.node !== wanted) {
    throw new GenRpcError('wrong_node', `Dialled ${wanted}, but ${printable(server.node)} answered.`, {
      details: { wanted },
    });
  }
  const codec = self.codecs.find(({ id }) => id === server.codec);
  if (codec === undefined) throw new GenRpcError('protocol_error', `${wanted} chose a codec that was not offered.`);
  return codec;
}

/** Anything wrong here is said to the peer: none of it depends on the secret. */
function checkClient(self: Identity, client: ClientHello, talk: HandshakeChannel): Codec {
  if (!isNodeName(client.node)) {
    throw talk.reject(
      RejectReason.Denied,
      new GenRpcError('protocol_error', `${printable(client.node)} is no node name.`),
    );
  }
  const mismatch = talk.channel.certificate?.mismatch(client.node);
  if (mismatch !== undefined) {
    const message = `The certificate of a peer that says it is ${client.node} does not speak for it: ${mismatch}.`;
    throw talk.reject(RejectReason.Denied, new GenRpcError('node_certificate_mismatch', message));
  }
  if (client.minVersion > PROTOCOL_VERSION || client.maxVersion < PROTOCOL_VERSION) {
    throw talk.reject(RejectReason.Version, versions(client.node, client.minVersion, client.maxVersion));
  }
  if ((client.features & MANDATORY_FEATURES) !== 0) {
    throw talk.reject(RejectReason.Feature, features(client.node, client.features));
  }
  if (client.wanted !== self.node) {
    const message = `${client.node} wanted ${printable(client.wanted)}, this is ${self.node}.`;
    throw talk.reject(RejectReason.WrongNode, new GenRpcError('wrong_node', message));
  }
  const codec = self.codecs.find(({ id }) => client.codecs.includes(id));
  if (codec === undefined) {
    const error = new GenRpcError('protocol_error', `No codec in common with ${client.node}.`);
    throw talk.reject(RejectReason.Codec, error);
  }
  return codec;
}

/** What the server says to the proofs. One that says something else instead has not proved itself. */
async function verdictOf(talk: HandshakeChannel, wanted: string): ReturnType<HandshakeChannel['receive']> {
  try {
    return await talk.receive(HandshakeType.Accept, HandshakeType.Reject);
  } catch (error) {
    throw isGenRpcError(error) && error.code === 'protocol_error' ? unproven(wanted, error) : error;
  }
}

function connectionOf(
  self: Identity,
  channel: Channel,
  hello: ClientHello | ServerHello,
  codec: Codec,
  rttMs: number,
): Connection {
  const incarnation = Buffer.from(hello.incarnation).toString('hex');
  const peer: Peer = {
    node: hello.node,
    incarnation,
    life: incarnation.slice(0, 2 * LIFE_BYTES),
    address: channel.remoteAddress,
    localPort: channel.localPort,
    certificate: summaryOf(channel.certificate),
    maxMessageBytes: hello.maxMessageBytes,
  };
  const compression = (hello.features & Feature.Compression) === 0 ? undefined : self.compression;
  const decoder = new FrameDecoder(self.settings.maxMessageBytes, compression !== undefined);
  const wire = { peer, codec, compression, rttMs, encoder: new FrameEncoder(), decoder };
  const keepalive = agreedKeepalive(self.settings.keepalive, hello.keepaliveMs);
  return new Connection(channel, wire, self.clock, { ...self.settings, keepalive });
}

/** What is kept of a certificate, without the certificate. */
function summaryOf(certificate: PeerCertificate | undefined): PeerCertificate | undefined {
  if (certificate === undefined) return undefined;
  const { subject, names, fingerprint, validTo } = certificate;
  return { subject, names, fingerprint, validTo };
}
