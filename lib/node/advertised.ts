/** What a node tells others of itself: where it is, and what can be called there. */
import type { ModuleRecord, NodeRecord } from '../discovery/discovery.js';
import type { Endpoint } from '../driver/driver.js';
import { hostOf } from '../protocol/node-name.js';
import type { AdvertiseOptions } from './option-groups.js';

/** Where a node accepts connections, and over what. */
export interface Listening extends Endpoint {
  /** A driver's name. */
  readonly driver: string;
}

export interface Advertised {
  readonly name: string;
  readonly incarnation: string;
  readonly options: AdvertiseOptions;
  readonly places: readonly Listening[];
  readonly modules: readonly ModuleRecord[];
}

/** `undefined` for a node that listens nowhere: nobody can call it. */
export function advertised({ name, incarnation, options, places, modules }: Advertised): NodeRecord | undefined {
  if (places.length === 0) return undefined;
  const { host = hostOf(name), port, priority, weight } = options;
  const locations = places.map((place, at) => ({
    driver: place.driver,
    host,
    port: at === 0 && port !== undefined ? port : place.port,
  }));
  return { name, locations, modules, priority, weight, incarnation };
}
