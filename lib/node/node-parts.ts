/** How a node that is called to be one is made of its parts: see `createNode`. */
import type { Buffers } from '../connection/buffers.js';
import type { ModulePolicy } from '../server/module-policy.js';
import type { Broadcasts } from './broadcasts.js';
import type { LifecycleParts } from './lifecycle.js';

export interface NodeParts extends LifecycleParts {
  readonly policy: ModulePolicy;
  readonly broadcasts: Broadcasts;
  readonly buffers: Buffers;
  readonly statusListeners: Set<StatusListener>;
}

/** Told whenever a node becomes connected from here, or no longer is. */
export type StatusListener = (node: string, connected: boolean) => void;
