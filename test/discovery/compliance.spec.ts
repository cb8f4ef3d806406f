import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DnsDiscovery } from '../../lib/discovery/dns.discovery.js';
import { ExternalDiscovery } from '../../lib/discovery/external.discovery.js';
import { FileDiscovery } from '../../lib/discovery/file.discovery.js';
import { StaticDiscovery } from '../../lib/discovery/static.discovery.js';
import type { NodeLocationOptions } from '../../lib/options/node-location-options.js';
import type { Clock } from '../../lib/ports/clock.js';
import { systemFiles } from '../../lib/system/system-files.js';
import { DnsServer } from '../support/dns-server.js';
import type { Places } from '../support/source-table.js';
import { describeSource, type SourceWorld } from './compliance.js';

const NODES: Readonly<Record<string, NodeLocationOptions>> = {
  'a@127.0.0.2': { port: 7001 },
  'b@127.0.0.3': { driver: 'tls', host: 'b.internal' },
};
const KNOWN: Places = {
  'a@127.0.0.2': [{ driver: 'tcp', host: '127.0.0.2', port: 7001 }],
  'b@127.0.0.3': [{ driver: 'tls', host: 'b.internal', port: 5369 }],
};

function worldOf(source: SourceWorld['source']): SourceWorld {
  return { source, known: KNOWN, [Symbol.asyncDispose]: async () => {} };
}

/** A file that is replaced as a whole. */
class NodesInFile implements SourceWorld {
  readonly source: FileDiscovery;
  readonly known = KNOWN;
  private readonly directory = mkdtempSync(join(tmpdir(), 'gen-rpc-nodes-'));
  private readonly path = join(this.directory, 'nodes.json');
  private beside: object = {};

  constructor(clock: Clock) {
    this.source = new FileDiscovery({ path: this.path }, { clock });
    this.write(NODES);
  }

  readonly change = async (): Promise<Places> => {
    this.write({ 'a@127.0.0.2': NODES['a@127.0.0.2'], 'c@127.0.0.4': {} });
    const c = [{ driver: 'tcp', host: '127.0.0.4', port: 5369 }];
    return { 'a@127.0.0.2': KNOWN['a@127.0.0.2'] ?? [], 'c@127.0.0.4': c };
  };

  readonly spoil = async (): Promise<void> => {
    this.beside = { 'evil@127.0.0.9': { host: '169.254.169.254' }, 'none@127.0.0.9': { host: '0.0.0.0' } };
    this.write(NODES);
  };

  async [Symbol.asyncDispose](): Promise<void> {
    rmSync(this.directory, { recursive: true });
  }

  private write(nodes: object): void {
    systemFiles.replace(this.path, JSON.stringify({ ...this.beside, ...nodes }));
  }
}

/** A name server of the test's own, which is asked over real sockets. */
class NodesInDns implements SourceWorld {
  readonly source: DnsDiscovery;
  readonly known: Places;
  /** Of an address nobody has to be asked. */
  readonly silence?: () => Promise<void>;

  private constructor(
    private readonly server: DnsServer,
    private readonly kind: 'addresses' | 'SRV',
    clock: Clock,
  ) {
    const service = kind === 'SRV' ? { srv: 'math.test' } : { host: 'math.test', port: 7001 };
    this.source = new DnsDiscovery({ name: 'math', ...service, servers: [server.address], interval: 50 }, { clock });
    this.known = this.write('127.0.0.2', '127.0.0.3');
    if (kind === 'SRV') this.silence = async () => server.fail('math.test', 'silent');
  }

  static async start(clock: Clock, kind: 'addresses' | 'SRV'): Promise<NodesInDns> {
    return new NodesInDns(await DnsServer.start(), kind, clock);
  }

  readonly change = async (): Promise<Places> => this.write('127.0.0.3', '127.0.0.4');

  readonly spoil = async (): Promise<void> => void this.write('127.0.0.2', '127.0.0.3', '169.254.169.254', '0.0.0.0');

  [Symbol.asyncDispose](): Promise<void> {
    return this.server[Symbol.asyncDispose]();
  }

  private write(...hosts: readonly string[]): Places {
    const targets = hosts.map((target) => ({ type: 'SRV', target, port: 7001 }) as const);
    if (this.kind === 'SRV') this.server.set('math.test', ...targets);
    else this.server.addresses('math.test', ...hosts);
    return Object.fromEntries(hosts.map((host) => [`math@${host}`, [{ driver: 'tcp', host, port: 7001 }]]));
  }
}

describeSource('a list', async () => worldOf(new StaticDiscovery(new Map(Object.entries(NODES)))), {
  unknown: 'by its name',
});

describeSource('a function', async () => worldOf(new ExternalDiscovery(async (node) => NODES[node] ?? {})), {
  unknown: 'by its name',
});

describeSource('a file', async (clock) => new NodesInFile(clock), { unknown: 'by its name' });

describeSource('the domain name system by addresses', (clock) => NodesInDns.start(clock, 'addresses'), {
  unknown: 'none',
});

describeSource('the domain name system by SRV records', (clock) => NodesInDns.start(clock, 'SRV'), { unknown: 'none' });
