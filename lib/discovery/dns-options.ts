/** What a user writes of services whose nodes the domain name system knows. */
import { check, isRecord, withoutUndefined } from '../options/check-options.js';
import { GenRpcConfigError, type Problem } from '../options/config-error.js';
import { WrittenModules, type WrittenModule } from '../options/node-location-options.js';
import { isText, Matches, Milliseconds, Optional, Port } from '../options/option-rules.js';

const isDomain = (value: unknown): boolean => typeof value === 'string' && /^[A-Za-z0-9_.-]{1,253}$/.test(value);

/** Nodes of one name, on many hosts: all that one name in the DNS leads to. */
export class DnsServiceOptions {
  /** Of its nodes, before the `@`. */
  @Matches((value) => typeof value === 'string' && /^[A-Za-z0-9_.-]{1,63}$/.test(value), 'letters, digits and _ . -')
  name!: string;

  /** A name with an A or AAAA record for each node, which is called `name@address`: a headless service of Kubernetes. */
  @Optional()
  @Matches(isDomain, 'a whole domain name')
  host?: string;

  /** A name with an SRV record for each node, which is called `name@target`. (RFC 2782) */
  @Optional()
  @Matches(isDomain, 'a whole domain name')
  srv?: string;

  /** With `host`: where its nodes listen. Default: as of nodes of which nothing is said. */
  @Optional()
  @Port(1)
  port?: number;

  /** With `host`: addresses of this version of IP only. Default: of both, which are nodes of their own. */
  @Optional()
  @Matches((value) => value === 4 || value === 6, '4 or 6')
  family?: 4 | 6;

  /** A driver's name. Default: `driver` of the node that dials. */
  @Optional()
  @Matches(isText, 'the name of a driver')
  driver?: string;

  /** What can be called there: `'math'`, or `{ module: 'math', version: '1.2.0' }`. Default: not known, it may be anything. */
  @Optional()
  @WrittenModules()
  modules?: readonly WrittenModule[];
}

/** One service, or several; whom to ask for them, and how often. */
export type DnsDiscoveryOptions = (DnsServiceOptions | { readonly services: readonly DnsServiceOptions[] }) & {
  /** Name servers, `10.0.0.10` or `10.0.0.10:53` or `[fd00::10]:53`, in the order to ask. Default: those of this machine. */
  readonly servers?: readonly string[] | undefined;
  /** ms that one look-up may take; less than `connectTimeout` leaves time for what `nodes` says. Default 2,000. */
  readonly timeout?: number | undefined;
  /**
   * ms between look-ups. Default 30,000, of addresses only at most: they are looked up again when their TTL has passed.
   * 10,000 of SRV records, whose TTL Node does not tell.
   */
  readonly interval?: number | undefined;
};

export interface ResolvedDns {
  readonly services: readonly DnsServiceOptions[];
  readonly servers: readonly string[] | undefined;
  readonly timeout: number;
  readonly interval: number | undefined;
}

/** @throws GenRpcConfigError naming every problem. */
export function resolveDns(given: DnsDiscoveryOptions): ResolvedDns {
  const problems = problemsOf(given);
  if (problems.length > 0) throw new GenRpcConfigError('new DnsDiscovery()', problems);
  const { servers, timeout = 2000, interval } = given;
  return {
    services: 'services' in given && given.services ? given.services : [given as DnsServiceOptions],
    servers,
    timeout,
    interval,
  };
}

/** Everything that may be written at the top. */
export class AllDnsOptions extends DnsServiceOptions {
  @Optional()
  @Matches(areServers, 'a list of addresses, with or without a port')
  servers?: readonly string[];

  @Optional()
  @Milliseconds()
  timeout?: number;

  @Optional()
  @Milliseconds()
  interval?: number;

  @Optional()
  @Matches((value) => Array.isArray(value) && value.length > 0, 'a list of services { name, host or srv }')
  services?: readonly DnsServiceOptions[];
}

function problemsOf(given: unknown): Problem[] {
  const all = check(AllDnsOptions, given, '');
  if (!isRecord(given)) return all;
  const { services, servers: _, timeout: __, interval: ___, ...one } = withoutUndefined(given);
  if (services === undefined) return [...all, ...choiceProblems(one, '')];
  const own = Object.keys(one).map((path) => ({ path, expected: 'nothing beside services; each of them has its own' }));
  const each = Array.isArray(services)
    ? services.flatMap((service, at) => serviceProblems(service, `services[${at}]`))
    : [];
  return [...all.filter(({ path }) => path === 'services' || !(path in one || path === 'name')), ...own, ...each];
}

function serviceProblems(service: unknown, path: string): Problem[] {
  return [
    ...check(DnsServiceOptions, service, path),
    ...(isRecord(service) ? choiceProblems(service, `${path}.`) : []),
  ];
}

/** A service is one or the other; what the records say, nobody else does. */
function choiceProblems({ host, srv, port, family }: Record<string, unknown>, at: string): Problem[] {
  if (host !== undefined && srv === undefined) return [];
  if (host !== undefined) return [{ path: `${at}srv`, expected: 'nothing beside host', got: srv }];
  if (srv === undefined) return [{ path: `${at}host`, expected: 'a whole domain name, here or as srv' }];
  const told = Object.entries({ port, family }).filter(([, value]) => value !== undefined);
  return told.map(([name, got]) => ({
    path: `${at}${name}`,
    expected: 'nothing beside srv, whose records say it',
    got,
  }));
}

function areServers(value: unknown): boolean {
  return Array.isArray(value) && value.length > 0 && value.every(isServer);
}

/** Node's resolver takes the whole process with it where a port is 0. */
function isServer(value: unknown): boolean {
  const parts = typeof value === 'string' ? /^(?:([\d.]+)|\[([\da-f:.]+)\])(?::(\d{1,5}))?$/i.exec(value) : null;
  if (parts === null) return typeof value === 'string' && isAddress(value, 6);
  const [, ipv4, ipv6 = '', port = '53'] = parts;
  return Number(port) >= 1 && Number(port) <= 65_535 && (ipv4 === undefined ? isAddress(ipv6, 6) : isAddress(ipv4, 4));
}

function isAddress(text: string, family: 4 | 6): boolean {
  if (family === 4) return /^\d+(\.\d+){3}$/.test(text) && text.split('.').every((byte) => Number(byte) <= 255);
  return text.includes(':') && URL.canParse(`http://[${text}]/`);
}
