/** Loads what writes certificates only where some are made: applications that make none need not have it installed. */
import { createPrivateKey, webcrypto } from 'node:crypto';
import type { KeyKind } from './issue-options.js';

export type X509Library = typeof import('@peculiar/x509');

const ALGORITHMS = {
  ec: { name: 'ECDSA', namedCurve: 'P-256' },
  rsa: { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256', modulusLength: 2048, publicExponent: new Uint8Array([1, 0, 1]) },
} as const;

/** @throws Error that says what to install. */
export async function loadX509(): Promise<X509Library> {
  try {
    // The library looks for a polyfill of Reflect's metadata the moment that it is loaded.
    await import('reflect-metadata');
    return await import('@peculiar/x509');
  } catch (cause) {
    throw new Error(
      'Making certificates takes the packages @peculiar/x509 and reflect-metadata. ' +
        'Run `npm install --save-dev @peculiar/x509 reflect-metadata`.',
      { cause },
    );
  }
}

export function generateKeys(kind: KeyKind): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(ALGORITHMS[kind], true, ['sign', 'verify']);
}

/** PKCS#8 as PEM, encrypted where there is a passphrase. */
export async function keyToPem(key: webcrypto.CryptoKey, passphrase?: string): Promise<string> {
  const der = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', key));
  const how = passphrase === undefined ? {} : { cipher: 'aes-256-cbc', passphrase };
  const pem = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' }).export({
    ...{ type: 'pkcs8', format: 'pem' },
    ...how,
  });
  return pem.toString();
}

/** @throws Error where it is no EC or RSA key, or the passphrase is not its own. */
export async function keyFromPem(pem: string, passphrase?: string): Promise<webcrypto.CryptoKey> {
  const key = createPrivateKey(passphrase === undefined ? pem : { key: pem, passphrase });
  const kind = key.asymmetricKeyType;
  if (kind !== 'ec' && kind !== 'rsa') throw new Error(`A key of kind ${kind} is not supported: use EC P-256 or RSA.`);
  const der = key.export({ type: 'pkcs8', format: 'der' });
  return webcrypto.subtle.importKey('pkcs8', der, ALGORITHMS[kind], true, ['sign']);
}
