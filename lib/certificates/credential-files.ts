/** Reads what one role proves itself with: files, texts, and what is wrong with them before they are judged. */
import { createPrivateKey, type KeyObject, type X509Certificate } from 'node:crypto';
import { dirname } from 'node:path';
import type { Files } from '../ports/files.js';
import { certificatesIn } from './certificate-chain.js';
import {
  filePathOf,
  listOf,
  type CredentialProblem,
  type PemSource,
  type RoleCredentialOptions,
  type RoleOptions,
} from './credential-options.js';
import { revocationListsIn, type RevocationList } from './revocation-list.js';

type Option = keyof RoleCredentialOptions;

/** All that could be read; what could not is empty or `undefined`, and among the problems. */
export interface ReadCredentials {
  readonly options: RoleOptions;
  /** As `createSecureContext` takes them. */
  readonly texts: Readonly<Record<'cert' | 'key' | 'ca' | 'crl', readonly string[]>>;
  /** The node's certificate first, then those of intermediate authorities. */
  readonly own: readonly X509Certificate[];
  readonly key: KeyObject | undefined;
  readonly authorities: readonly X509Certificate[];
  /** What these have revoked; empty where nothing is said about it. */
  readonly lists: readonly RevocationList[];
  readonly problems: readonly CredentialProblem[];
}

/** `node` is whose they are, for the advice in messages. Never throws. */
export function readCredentials(options: RoleOptions, files: Files, node: string): ReadCredentials {
  const problems: CredentialProblem[] = [];
  const read = (option: 'cert' | 'key' | 'ca' | 'crl'): Text[] =>
    listOf(options.given[option]).flatMap((source) => {
      const text = textOf(source, files);
      if ('text' in text) return [text];
      const expected = `PEM text, or a file that can be read (${text.code})`;
      const path = options.pathOf(option);
      if (NO_PATH.test(text.path)) problems.push({ path, expected: `${expected}; this seems to be neither` });
      else problems.push({ path, expected: `${expected}; ${adviceOf(option, text.path, node)}`, got: text.path });
      return [];
    });
  const found = { cert: read('cert'), key: read('key'), ca: read('ca'), crl: read('crl') };
  problems.push(...missing(options));
  const parse = <T>(option: 'cert' | 'key' | 'ca' | 'crl', expected: string, from: (text: string) => T[]): T[] =>
    found[option].flatMap(({ text, path: got }) => {
      const parsed = attempt(() => from(text));
      if (parsed.length === 0) problems.push({ path: options.pathOf(option), expected, ...(got && { got }) });
      return parsed;
    });
  const own = parse('cert', 'a certificate, as PEM', certificatesIn);
  const authorities = parse('ca', 'certificates of authorities, as PEM', certificatesIn);
  const lists = parse('crl', 'a list of what is revoked, as PEM', revocationListsIn);
  const { passphrase } = options.given;
  const [key] = parse('key', keyRule(found.key[0]?.text, options), (text) => [keyOf(text, passphrase)]);
  const texts = { cert: textsOf(found.cert), key: textsOf(found.key), ca: textsOf(found.ca), crl: textsOf(found.crl) };
  return { options, texts, own, key, authorities, lists, problems };
}

/** Text that is no path, but may be a key without its head and foot, or PEM in base64: it is not repeated. */
const NO_PATH = /\n|^[\w+/=-]{100,}$/;

interface Text {
  readonly text: string;
  readonly path: string | undefined;
}

function textOf(source: PemSource, files: Files): Text | { path: string; code: string } {
  const path = filePathOf(source);
  if (path === undefined) return { path, text: Buffer.from(source as string).toString() };
  try {
    return { path, text: files.read(path).toString() };
  } catch (cause) {
    return { path, code: (cause as NodeJS.ErrnoException).code ?? 'unreadable' };
  }
}

function textsOf(found: readonly Text[]): string[] {
  return found.map(({ text }) => text);
}

function missing({ given, pathOf }: RoleOptions): CredentialProblem[] {
  const needed: [Option, string][] = [
    ['cert', "this node's certificate: PEM text, or the path of a file"],
    ['key', 'its private key: PEM text, or the path of a file'],
    ['ca', 'the certificate of the authority that your nodes share; no other is trusted'],
  ];
  return needed.flatMap(([option, expected]) => {
    const isThere = option === 'passphrase' || listOf(given[option]).length > 0;
    return isThere ? [] : [{ path: pathOf(option), expected }];
  });
}

/** What to run, for whoever has no such file yet. */
function adviceOf(option: Option, path: string, node: string): string {
  const command = option === 'ca' ? 'init' : option === 'crl' ? undefined : `issue ${node}`;
  if (command === undefined) return 'an authority makes one';
  return `\`npx nestjs-gen-rpc certs ${command} --dir ${dirname(path)}\` makes one`;
}

function keyOf(pem: string, passphrase: string | undefined): KeyObject {
  return createPrivateKey(passphrase === undefined ? pem : { key: pem, passphrase });
}

function keyRule(pem: string | undefined, { given, pathOf }: RoleOptions): string {
  if (pem?.includes('ENCRYPTED') !== true) return 'a private key, as PEM';
  return `a private key that ${pathOf('passphrase')} opens${given.passphrase === undefined ? ', which is missing' : ''}`;
}

function attempt<T>(parse: () => T[]): T[] {
  try {
    return parse();
  } catch {
    return [];
  }
}
