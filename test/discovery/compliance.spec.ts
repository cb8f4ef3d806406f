import { ExternalDiscovery } from '../../lib/discovery/external.discovery.js';
import { StaticDiscovery } from '../../lib/discovery/static.discovery.js';
import type { NodeLocationOptions } from '../../lib/options/node-location-options.js';
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

describeSource('a list', async () => worldOf(new StaticDiscovery(new Map(Object.entries(NODES)))), {
  unknown: 'by its name',
});

describeSource('a function', async () => worldOf(new ExternalDiscovery(async (node) => NODES[node] ?? {})), {
  unknown: 'by its name',
});
