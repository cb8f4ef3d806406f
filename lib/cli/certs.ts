/** `certs`: makes an authority and certificates of nodes, and shows what is in a file. */
import type { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { InvalidArgumentError, type Command } from 'commander';
import { CertificateAuthority } from '../authority/certificate-authority.js';
import { certificatePaths, writeCertificate } from '../authority/certificate-writer.js';
import type { AlternativeNames } from '../authority/issue-options.js';
import { certificatesIn, validTo } from '../certificates/certificate-chain.js';
import { systemCalendar } from '../system/system.js';
import { isNodeName, NODE_NAME_RULE } from '../protocol/node-name.js';
import { describe } from './certificate-text.js';

const AUTHORITY = 'ca';
const KINDS = ['dns', 'ip', 'uri', 'email'] as const;

interface MakeOptions {
  readonly dir: string;
  readonly days?: number;
  readonly force?: boolean;
}

interface IssueOptions extends MakeOptions {
  readonly san: readonly (readonly [kind: keyof AlternativeNames, value: string])[];
}

export function addCerts(program: Command): void {
  const certs = program
    .command('certs')
    .description('certificates for development: an authority, and one for each node');
  certs
    .command('init')
    .description('make an authority: ca.pem for all nodes, ca.key for yourself')
    .option('--dir <directory>', 'where to write', 'certs')
    .option('--days <days>', 'how long it is good for (default: 3650)', daysOf)
    .option('--force', 'replace one that is there: certificates it has issued become worthless')
    .action(init);
  certs
    .command('issue')
    .description('make a certificate and a key for a node')
    .argument('<node>', 'name@host', nodeOf)
    .option('--dir <directory>', 'where the authority is, and where to write', 'certs')
    .option('--days <days>', 'how long it is good for (default: 365)', daysOf)
    .option(
      '--san <name>',
      'a name beside its host and genrpc:name@host: dns:…, ip:…, uri:… or email:…; may be repeated',
      sanOf,
      [],
    )
    .option('--force', 'replace what is there')
    .action(issue);
  certs.command('show').description('show the certificates in a file').argument('<file>', 'PEM').action(show);
}

async function init({ dir, days, force = false }: MakeOptions): Promise<void> {
  const authority = await CertificateAuthority.create(days === undefined ? {} : { days });
  const { cert, key } = write(dir, AUTHORITY, authority, force);
  say(`${cert}: what every node has as tls.ca`, `${key}: keep it to yourself; nodes do not need it`);
}

async function issue(node: string, { dir, days, force = false, san }: IssueOptions): Promise<void> {
  const authority = await authorityIn(dir);
  const alsoNames = Object.fromEntries(
    KINDS.map((kind) => [kind, san.filter(([one]) => one === kind).map(([, value]) => value)]),
  );
  const issued = await authority.issue(node, { alsoNames, ...(days === undefined ? {} : { days }) });
  const { cert, key } = write(dir, node, issued, force);
  const [certificate] = certificatesIn(issued.leaf);
  say(
    `${cert}: ${certificate?.subjectAltName ?? ''}, until ${certificate?.validTo ?? ''}`,
    `${key}: keep it to the node`,
    `tls: ${JSON.stringify({ cert, key, ca: certificatePaths(dir, AUTHORITY).cert })}`,
  );
}

function show(file: string): void {
  const certificates = certificatesOf(file, '');
  if (certificates.length === 0) throw new Error(`${file} holds no certificate in PEM.`);
  say(certificates.map((one) => describe(one, systemCalendar())).join('\n\n'));
}

async function authorityIn(directory: string): Promise<CertificateAuthority> {
  const { cert, key } = certificatePaths(directory, AUTHORITY);
  const advice = ` Run \`nestjs-gen-rpc certs init --dir ${directory}\` first.`;
  const [certificate] = certificatesOf(cert, advice);
  if (certificate !== undefined && validTo(certificate) <= systemCalendar()) {
    throw new Error(`The authority in ${cert} has expired.`);
  }
  return CertificateAuthority.load(read(cert, advice), read(key, advice)).catch((cause: Error) => {
    throw new Error(`${cert} and ${key} make no authority: ${cause.message}`, { cause });
  });
}

function certificatesOf(path: string, advice: string): X509Certificate[] {
  const text = read(path, advice);
  try {
    return certificatesIn(text);
  } catch (cause) {
    throw new Error(`${path} holds no certificate that can be read (${(cause as Error).message}).`, { cause });
  }
}

function read(path: string, advice: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    const { code = String(cause) } = cause as NodeJS.ErrnoException;
    throw new Error(`${path} cannot be read (${code}).${advice}`, { cause });
  }
}

function write(
  directory: string,
  name: string,
  made: { readonly cert: string; readonly key: string },
  replace: boolean,
): { cert: string; key: string } {
  try {
    return writeCertificate(directory, name, made, { replace });
  } catch (cause) {
    const advice = replace ? '' : ' With --force it is replaced.';
    throw new Error(`${(cause as Error).message}${advice}`, { cause });
  }
}

function daysOf(text: string): number {
  const days = Number(text);
  if (Number.isInteger(days) && days >= 1 && days <= 36_500) return days;
  throw new InvalidArgumentError('It is a whole number from 1 to 36500.');
}

function nodeOf(text: string): string {
  if (isNodeName(text)) return text;
  throw new InvalidArgumentError(`It is ${NODE_NAME_RULE}.`);
}

function sanOf(text: string, before: IssueOptions['san']): IssueOptions['san'] {
  const kind = KINDS.find((one) => text.startsWith(`${one}:`));
  const value = text.slice((kind?.length ?? 0) + 1);
  if (kind === undefined || value === '') throw new InvalidArgumentError(`It begins with ${KINDS.join(':, ')}:.`);
  return [...before, [kind, value]];
}

function say(...lines: string[]): void {
  process.stdout.write(`${lines.join('\n')}\n`);
}
