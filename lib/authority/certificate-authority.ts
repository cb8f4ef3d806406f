/** Makes certificates of nodes for development and tests, by an authority of one's own. */
import { createPrivateKey, X509Certificate, type webcrypto } from 'node:crypto';
import { normalHost } from '../certificates/certificate-names.js';
import { systemCalendar } from '../system/system.js';
import { hostOf } from '../protocol/node-name.js';
import type {
  AlternativeNames,
  AuthorityOptions,
  CertificateOptions,
  IssuedCertificate,
  IssueOptions,
} from './issue-options.js';
import { generateKeys, keyFromPem, keyToPem, loadX509, type X509Library } from './x509.js';

const DAY_MS = 86_400_000;
const CLOCK_SKEW_MS = 300_000;
const AUTHORITY_DAYS = 3650;
const NODE_DAYS = 365;
/** X.520 allows a common name no more. */
const MAX_COMMON_NAME = 64;

type Certificate = InstanceType<X509Library['X509Certificate']>;

/** Who signs: by default the certificate itself. */
interface Signer {
  readonly certificate: Certificate;
  readonly key: webcrypto.CryptoKey;
}

interface Draft {
  readonly subject: string;
  readonly options: CertificateOptions;
  readonly days: number;
  readonly extensions: (x509: X509Library) => InstanceType<X509Library['Extension']>[];
  readonly signer: Signer | undefined;
}

interface Signed {
  readonly certificate: Certificate;
  readonly privateKey: webcrypto.CryptoKey;
  readonly pem: string;
  readonly key: string;
}

export class CertificateAuthority {
  private constructor(
    private readonly x509: X509Library,
    private readonly signer: Signer,
    /** Its certificate: what `tls.ca` takes. PEM. */
    readonly cert: string,
    /** Its private key. PEM. */
    readonly key: string,
    /** Its certificate and those above it, without the root: what goes with certificates that it issues. */
    private readonly chain: readonly string[],
  ) {}

  /** A root of its own. @throws Error where `@peculiar/x509` is not installed. */
  static async create(options: AuthorityOptions = {}): Promise<CertificateAuthority> {
    const x509 = await loadX509();
    const signed = await sign(x509, authorityDraft('genrpc CA', options, undefined));
    return new CertificateAuthority(x509, signerOf(signed), signed.pem, signed.key, []);
  }

  /** One that was made before. @throws Error where the key is not that of the certificate. */
  static async load(cert: string, key: string, passphrase?: string): Promise<CertificateAuthority> {
    const x509 = await loadX509();
    if (
      !new X509Certificate(cert).checkPrivateKey(createPrivateKey(passphrase === undefined ? key : { key, passphrase }))
    ) {
      throw new Error('The key is not that of the certificate.');
    }
    const certificate = new x509.X509Certificate(cert);
    const signer = { certificate, key: await keyFromPem(key, passphrase) };
    return new CertificateAuthority(x509, signer, certificate.toString('pem'), key, []);
  }

  /** An authority that this one vouches for; what it issues carries its certificate along. */
  async intermediate(options: AuthorityOptions = {}): Promise<CertificateAuthority> {
    const signed = await sign(this.x509, authorityDraft('genrpc intermediate CA', options, this.signer));
    return new CertificateAuthority(this.x509, signerOf(signed), signed.pem, signed.key, [signed.pem, ...this.chain]);
  }

  /** A certificate of the node `name@host`. @throws GenRpcError `invalid_argument` where that is no node name. */
  async issue(node: string, options: IssueOptions = {}): Promise<IssuedCertificate> {
    return issuedOf(await sign(this.x509, nodeDraft(node, options, this.signer)), this.chain);
  }

  /** Says which certificates are no longer good. PEM; what `tls.crl` takes. */
  async revoke(
    revoked: readonly { readonly serialNumber: string }[],
    options: CertificateOptions = {},
  ): Promise<string> {
    const { notBefore, notAfter } = validityOf(options, AUTHORITY_DAYS);
    const crl = await this.x509.X509CrlGenerator.create({
      issuer: this.signer.certificate.subjectName,
      thisUpdate: notBefore,
      nextUpdate: notAfter,
      entries: revoked.map(({ serialNumber }) => ({ serialNumber, revocationDate: notBefore })),
      signingKey: this.signer.key,
      signingAlgorithm: { name: this.signer.key.algorithm.name, hash: 'SHA-256' },
    });
    // The library's own label is none that OpenSSL knows.
    return this.x509.PemConverter.encode(crl.rawData, 'X509 CRL');
  }
}

/** A certificate of a node that vouches for itself. @throws as `CertificateAuthority.create` and `issue` do. */
export async function selfSigned(node: string, options: IssueOptions = {}): Promise<IssuedCertificate> {
  const x509 = await loadX509();
  return issuedOf(await sign(x509, nodeDraft(node, options, undefined)), []);
}

function authorityDraft(subject: string, options: AuthorityOptions, signer: Signer | undefined): Draft {
  return {
    ...{ subject, options, signer, days: AUTHORITY_DAYS },
    extensions: ({ BasicConstraintsExtension, KeyUsagesExtension, KeyUsageFlags }) => [
      new BasicConstraintsExtension(options.isAuthority ?? true, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
    ],
  };
}

function nodeDraft(node: string, options: IssueOptions, signer: Signer | undefined): Draft {
  const named = options.names ?? namesOf(node);
  return {
    ...{ subject: node.slice(0, MAX_COMMON_NAME), options, signer, days: NODE_DAYS },
    extensions(x509) {
      const names = [named === false ? {} : named, options.alsoNames ?? {}].flatMap(entriesOf);
      const usages = (options.usage ?? ['server', 'client']).map((one) => x509.ExtendedKeyUsage[`${one}Auth`]);
      return [
        new x509.BasicConstraintsExtension(false, undefined, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
        new x509.ExtendedKeyUsageExtension(usages),
        ...(names.length === 0 ? [] : [new x509.SubjectAlternativeNameExtension(names)]),
      ];
    },
  };
}

/** What a certificate of this node has to name: see docs/CERTIFICATES.md. */
function namesOf(node: string): AlternativeNames {
  const host = normalHost(hostOf(node)) ?? hostOf(node).toLowerCase();
  const isAddress = host.includes(':') || /^[\d.]+$/.test(host);
  return { ...(isAddress ? { ip: [host] } : { dns: [host] }), uri: [`genrpc:${node}`] };
}

function entriesOf(names: AlternativeNames): { type: 'dns' | 'ip' | 'url' | 'email'; value: string }[] {
  return [
    ...(names.dns ?? []).map((value) => ({ type: 'dns' as const, value })),
    ...(names.ip ?? []).map((value) => ({ type: 'ip' as const, value })),
    ...(names.uri ?? []).map((value) => ({ type: 'url' as const, value })),
    ...(names.email ?? []).map((value) => ({ type: 'email' as const, value })),
  ];
}

async function sign(x509: X509Library, { subject, options, days, extensions, signer }: Draft): Promise<Signed> {
  const keys = await generateKeys(options.keyKind ?? 'ec');
  const commonName = options.commonName ?? subject;
  const name = new x509.Name(commonName === '' ? [] : [{ CN: [commonName] }]);
  const signingKey = signer?.key ?? keys.privateKey;
  const certificate = await x509.X509CertificateGenerator.create({
    subject: name,
    issuer: signer?.certificate.subjectName ?? name,
    ...validityOf(options, days, signer?.certificate.notAfter),
    publicKey: keys.publicKey,
    signingKey,
    signingAlgorithm: { name: signingKey.algorithm.name, hash: 'SHA-256' },
    extensions: [
      ...extensions(x509),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
      await x509.AuthorityKeyIdentifierExtension.create(signer?.certificate.publicKey ?? keys.publicKey),
    ],
  });
  const key = await keyToPem(keys.privateKey, options.passphrase);
  return { certificate, privateKey: keys.privateKey, pem: certificate.toString('pem'), key };
}

/** Nothing is good for longer than who vouches for it, unless it is told to say so. */
function validityOf(options: CertificateOptions, days: number, latest?: Date): { notBefore: Date; notAfter: Date } {
  const now = systemCalendar().getTime();
  const end = now + (options.days ?? days) * DAY_MS;
  return {
    notBefore: options.notBefore ?? new Date(now - CLOCK_SKEW_MS),
    notAfter: options.notAfter ?? new Date(Math.min(end, latest?.getTime() ?? end)),
  };
}

function signerOf({ certificate, privateKey }: Signed): Signer {
  return { certificate, key: privateKey };
}

function issuedOf({ certificate, pem, key }: Signed, chain: readonly string[]): IssuedCertificate {
  return { cert: [pem, ...chain].join('\n'), leaf: pem, key, serialNumber: certificate.serialNumber };
}
