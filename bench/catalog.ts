/** Every system and every workload there is. To add one, write its file and name it here. */
import type { System } from './system.js';
import type { Way } from './systems/broadcast.js';
import type { Choice } from './systems/hundred.js';
import type { Wire, Wired } from './systems/wire.js';
import type { Workload } from './workload.js';
import { add } from './workloads/add.js';
import { besideBulk, besideBulkSlow } from './workloads/beside-bulk.js';
import { broadcast } from './workloads/broadcast.js';
import { buffers, buffersAsNodeComes } from './workloads/buffers.js';
import { choose } from './workloads/choose.js';
import { connect } from './workloads/connect.js';
import { enhanced, requestScoped } from './workloads/enhanced.js';
import { events } from './workloads/events.js';
import { notReading } from './workloads/not-reading.js';
import { stream } from './workloads/stream.js';
import { tlsAdd, tlsBuffers } from './workloads/tls.js';
import { workers } from './workloads/workers.js';

/** Each of them is two systems: `name`, and `name-tls`. */
const WIRED: Readonly<Record<string, () => Promise<Wired>>> = {
  'gen-rpc': () => import('./systems/gen-rpc.js'),
  core: () => import('./systems/core.js'),
  'nest-tcp': () => import('./systems/nest-tcp.js'),
  'grpc-js': () => import('./systems/grpc-js.js'),
  raw: () => import('./systems/raw.js'),
  'raw-bytes': () => import('./systems/raw-bytes.js'),
};

function wired(wire: Wire): [string, () => Promise<System>][] {
  const suffix = wire === 'tcp' ? '' : `-${wire}`;
  return Object.entries(WIRED).map(([name, load]) => [`${name}${suffix}`, async () => (await load()).over(wire)]);
}

const toldBy = async (way: Way): Promise<System> => (await import('./systems/broadcast.js')).toldBy(way);

const chosenBy = async (choice: Choice): Promise<System> => (await import('./systems/hundred.js')).chosenBy(choice);

/** Loaded only in the processes that run them. */
export const SYSTEMS: ReadonlyMap<string, () => Promise<System>> = new Map([
  ...wired('tcp'),
  ...wired('tls'),
  ['gen-rpc-iterable', (): Promise<System> => import('./systems/gen-rpc-iterable.js')],
  ['core-unscheduled', async (): Promise<System> => (await import('./systems/core-unscheduled.js')).over('tcp')],
  ['nest-grpc', (): Promise<System> => import('./systems/nest-grpc.js')],
  ['one-process', (): Promise<System> => import('./systems/one-process.js')],
  ['two-workers', (): Promise<System> => import('./systems/two-workers.js')],
  ['calls', (): Promise<System> => toldBy('calls')],
  ['multicall', (): Promise<System> => toldBy('multicall')],
  ['sbcast', (): Promise<System> => toldBy('sbcast')],
  ['abcast', (): Promise<System> => toldBy('abcast')],
  ...(['by-load', 'by-weight', 'by-key', 'by-weight-and-key'] as const).map(
    (choice): [string, () => Promise<System>] => [choice, () => chosenBy(choice)],
  ),
]);

export const WORKLOADS: ReadonlyMap<string, Workload> = new Map<string, Workload>([
  ['add', add],
  ['enhanced', enhanced],
  ['request-scoped', requestScoped],
  ['events', events],
  ['stream', stream],
  ['buffers', buffers],
  ['buffers-as-node-comes', buffersAsNodeComes],
  ['beside-bulk', besideBulk],
  ['beside-bulk-slow', besideBulkSlow],
  ['not-reading', notReading],
  ['workers', workers],
  ['broadcast', broadcast],
  ['tls-add', tlsAdd],
  ['tls-buffers', tlsBuffers],
  ['connect', connect],
  ['choose', choose],
]);

/** The entry called `name`. @throws Error that names those there are. */
export function pick<Entry>(catalog: ReadonlyMap<string, Entry>, name: string): Entry {
  const entry = catalog.get(name);
  if (entry === undefined) throw new Error(`There is no ${name}; there are ${[...catalog.keys()].join(', ')}.`);
  return entry;
}
