/** Every system and every workload there is. To add one, write its file and name it here. */
import type { System } from './system.js';
import type { Way } from './systems/broadcast.js';
import type { Workload } from './workload.js';
import { add } from './workloads/add.js';
import { besideBulk, besideBulkSlow } from './workloads/beside-bulk.js';
import { broadcast } from './workloads/broadcast.js';
import { buffers } from './workloads/buffers.js';
import { events } from './workloads/events.js';
import { notReading } from './workloads/not-reading.js';
import { stream } from './workloads/stream.js';
import { workers } from './workloads/workers.js';

const toldBy = async (way: Way): Promise<System> => (await import('./systems/broadcast.js')).toldBy(way);

/** Loaded only in the processes that run them. */
export const SYSTEMS: ReadonlyMap<string, () => Promise<System>> = new Map([
  ['gen-rpc', (): Promise<System> => import('./systems/gen-rpc.js')],
  ['gen-rpc-iterable', (): Promise<System> => import('./systems/gen-rpc-iterable.js')],
  ['core', (): Promise<System> => import('./systems/core.js')],
  ['core-unscheduled', (): Promise<System> => import('./systems/core-unscheduled.js')],
  ['nest-tcp', (): Promise<System> => import('./systems/nest-tcp.js')],
  ['nest-grpc', (): Promise<System> => import('./systems/nest-grpc.js')],
  ['grpc-js', (): Promise<System> => import('./systems/grpc-js.js')],
  ['raw', (): Promise<System> => import('./systems/raw.js')],
  ['raw-bytes', (): Promise<System> => import('./systems/raw-bytes.js')],
  ['one-process', (): Promise<System> => import('./systems/one-process.js')],
  ['two-workers', (): Promise<System> => import('./systems/two-workers.js')],
  ['calls', (): Promise<System> => toldBy('calls')],
  ['multicall', (): Promise<System> => toldBy('multicall')],
  ['sbcast', (): Promise<System> => toldBy('sbcast')],
  ['abcast', (): Promise<System> => toldBy('abcast')],
]);

export const WORKLOADS: ReadonlyMap<string, Workload> = new Map<string, Workload>([
  ['add', add],
  ['events', events],
  ['stream', stream],
  ['buffers', buffers],
  ['beside-bulk', besideBulk],
  ['beside-bulk-slow', besideBulkSlow],
  ['not-reading', notReading],
  ['workers', workers],
  ['broadcast', broadcast],
]);

/** The entry called `name`. @throws Error that names those there are. */
export function pick<Entry>(catalog: ReadonlyMap<string, Entry>, name: string): Entry {
  const entry = catalog.get(name);
  if (entry === undefined) throw new Error(`There is no ${name}; there are ${[...catalog.keys()].join(', ')}.`);
  return entry;
}
