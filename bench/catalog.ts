/** Every system and every workload there is. To add one, write its file and name it here. */
import type { System } from './system.js';
import type { Workload } from './workload.js';
import { add } from './workloads/add.js';
import { events } from './workloads/events.js';

/** Loaded only in the processes that run them. */
export const SYSTEMS: ReadonlyMap<string, () => Promise<System>> = new Map([
  ['gen-rpc', (): Promise<System> => import('./systems/gen-rpc.js')],
  ['core', (): Promise<System> => import('./systems/core.js')],
  ['nest-tcp', (): Promise<System> => import('./systems/nest-tcp.js')],
  ['raw', (): Promise<System> => import('./systems/raw.js')],
]);

/** Systems that the others are compared with. */
export const BASELINES: readonly string[] = ['nest-tcp', 'raw'];

export const WORKLOADS: ReadonlyMap<string, Workload> = new Map<string, Workload>([
  ['add', add],
  ['events', events],
]);

/** The entry called `name`. @throws Error that names those there are. */
export function pick<Entry>(catalog: ReadonlyMap<string, Entry>, name: string): Entry {
  const entry = catalog.get(name);
  if (entry === undefined) throw new Error(`There is no ${name}; there are ${[...catalog.keys()].join(', ')}.`);
  return entry;
}
