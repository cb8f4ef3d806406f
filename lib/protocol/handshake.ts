/**
 * Who is there: mutual proof of a shared secret, as pure functions over the bytes of both hellos.
 *
 * The client proves first, so that a server says nothing about the secret to strangers. Each role proves with a key of
 * its own (RFC 5869) over a transcript of everything said, so that no proof can be turned around, replayed or moved.
 */
import { createHash, createHmac, createSecretKey, hkdfSync, timingSafeEqual, type KeyObject } from 'node:crypto';

export type Role = 'client' | 'server';

export const PROOF_BYTES = 32;
export const NONCE_BYTES = 32;
export const INCARNATION_BYTES = 16;
/** Of an incarnation: the node's life. The rest tells its processes apart. */
export const LIFE_BYTES = 8;
/** An old and a new secret side by side, twice over. */
export const MAX_SECRETS = 4;
/** Shortest secret that a node starts with, in UTF-8 bytes. */
export const MIN_SECRET_BYTES = 16;

/** One secret, as the two keys it is used as. The secret itself is not kept. */
export interface RoleKeys {
  readonly client: KeyObject;
  readonly server: KeyObject;
}

/** HKDF-SHA-256 with a label a role (RFC 5869). */
export function deriveKeys(secret: Uint8Array): RoleKeys {
  return { client: deriveKey(secret, 'client'), server: deriveKey(secret, 'server') };
}

function deriveKey(secret: Uint8Array, role: Role): KeyObject {
  return createSecretKey(Buffer.from(hkdfSync('sha256', secret, 'nestjs-gen-rpc/1', `${role} proof`, 32)));
}

/** Everything both sides have said and the wire they said it on, as one digest. */
export function transcript(clientHello: Uint8Array, serverHello: Uint8Array, channelBinding: Uint8Array): Uint8Array {
  const digest = createHash('sha256');
  for (const part of [clientHello, serverHello, channelBinding]) {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(part.length);
    digest.update(length).update(part);
  }
  return digest.digest();
}

/** The client's proofs, one for each of its secrets: it cannot know which of them the server still holds. */
export function proveClient(keys: readonly RoleKeys[], script: Uint8Array): Uint8Array {
  return Buffer.concat(keys.map((key) => mac(key.client, script)));
}

/** The secret by which the client's proofs hold, or `undefined`. */
export function verifyClient(keys: readonly RoleKeys[], script: Uint8Array, proofs: Uint8Array): RoleKeys | undefined {
  const count = proofs.length / PROOF_BYTES;
  if (!Number.isInteger(count) || count < 1 || count > MAX_SECRETS) return undefined;
  let proven: RoleKeys | undefined;
  for (const key of keys) {
    const expected = mac(key.client, script);
    for (let index = 0; index < count; index += 1) {
      if (sameProof(expected, proofs.subarray(index * PROOF_BYTES, (index + 1) * PROOF_BYTES))) proven ??= key;
    }
  }
  return proven;
}

/** The server's answer: it covers the client's proofs too, so that it answers this client only. */
export function proveServer(key: RoleKeys, script: Uint8Array, clientProofs: Uint8Array): Uint8Array {
  return mac(key.server, script, clientProofs);
}

export function verifyServer(
  keys: readonly RoleKeys[],
  script: Uint8Array,
  clientProofs: Uint8Array,
  proof: Uint8Array,
): boolean {
  return keys.some((key) => sameProof(mac(key.server, script, clientProofs), proof));
}

function mac(key: KeyObject, ...parts: Uint8Array[]): Buffer {
  const hmac = createHmac('sha256', key);
  for (const part of parts) hmac.update(part);
  return hmac.digest();
}

/** Length first, then constant time: `timingSafeEqual` throws on unequal lengths. */
function sameProof(expected: Uint8Array, proof: Uint8Array): boolean {
  return proof.length === expected.length && timingSafeEqual(proof, expected);
}

const SAMPLE_SECRET = /change.?me|your.?secret|secret.?here|example|placeholder|password|cookie.?here|xxxx/i;

/** What is wrong with a secret, or `undefined`. Never repeats the secret. */
export function weaknessOf(secret: unknown): string | undefined {
  if (typeof secret !== 'string') return 'must be a string';
  const bytes = Buffer.byteLength(secret);
  if (bytes < MIN_SECRET_BYTES) return `must have at least ${MIN_SECRET_BYTES} bytes, has ${bytes}`;
  if (new Set(secret).size < 6) return 'must not repeat a few characters';
  if (SAMPLE_SECRET.test(secret)) return 'looks like a sample; make one with: openssl rand -base64 32';
  return undefined;
}
