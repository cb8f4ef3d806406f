/** The port between names and places: which nodes are there, where are they, and what can be called on them? */

/** One place where a node accepts connections. */
export interface Location {
  /** A driver's name: `tcp`. */
  readonly driver: string;
  readonly host: string;
  readonly port: number;
}

/** A place, as far as it differs from that of nodes of which nothing is said. */
export type Place = { readonly [Part in keyof Location]?: Location[Part] | undefined };

/** What is said of one node. */
export interface NodeRecord {
  /** `name@host`. */
  readonly name: string;
  /** In the order to try; at least one. */
  readonly locations: readonly Place[];
  /** What can be called there; `undefined`: nobody knows, it may be anything. */
  readonly modules?: readonly ModuleRecord[] | undefined;
  /** Calls of a module go to nodes of the lowest number that can be reached. Default 0. (RFC 2782: priority) */
  readonly priority?: number | undefined;
  /** Share of the calls among nodes of one priority; 0: hardly any. Default 1. (RFC 2782: weight) */
  readonly weight?: number | undefined;
  /** Another one after each restart of the node. */
  readonly incarnation?: string | undefined;
}

export interface ModuleRecord {
  readonly name: string;
  /** `''` stands for a module without a version. */
  readonly versions: readonly string[];
}

/** Hears what a source knows of all nodes. */
export interface MembershipWatcher {
  /**
   * These nodes are there, and no others: what a source has read as a whole, never a part. Nothing of it is trusted.
   * Returns whether it is believed; `false`: nodes were known and there are none now. Read again, soon and anew: the
   * second time it is.
   */
  members(records: readonly unknown[]): boolean;
  /** The source cannot tell at the moment. What it told before goes on being used. */
  failed(cause: Error): void;
}

/**
 * Where a node learns of others. Only `resolve` is needed. One instance is for one node, which closes it.
 * (gen_rpc: `client_config_per_node`, `{external, Module}`)
 */
export interface Discovery {
  /**
   * Where the node is; several places are tried in their order. Asked for nodes that `watch` has not told of. Rejects
   * with a GenRpcError `external_source_error` when it cannot tell; must give up when `signal` aborts.
   */
  resolve(node: string, signal: AbortSignal): Promise<Place | readonly Place[]>;
  /** Tells `watcher` of all nodes, now and whenever that changes, until `close`. Failures are told too, and outlived. */
  watch?(watcher: MembershipWatcher): void;
  /**
   * Tells others of this node until `deregister` or `close`; again, with what has changed. Resolves once it is known;
   * a source that cannot be reached is tried again and again meanwhile.
   */
  register?(self: NodeRecord): Promise<void>;
  /** Others are to call elsewhere. Resolves once that is known, or after a moment in which it could not be told. */
  deregister?(): Promise<void>;
  /** Nothing of it is left running. Safe to repeat. */
  close?(): Promise<void>;
}

/** What holds for nodes of which nothing is said. */
export interface Fallback {
  readonly driver: string;
  readonly port: number;
  /** Ports by driver, where they differ. */
  readonly ports?: ReadonlyMap<string, number>;
}

export function located(nodeHost: string, fallback: Fallback, told: Place): Location {
  const { driver = fallback.driver, host = nodeHost } = told;
  return { driver, host, port: told.port ?? fallback.ports?.get(driver) ?? fallback.port };
}
