/** The port between names and places: where is a node, and how is it reached? */

export interface Location {
  /** A driver's name: `tcp`. */
  readonly driver: string;
  readonly host: string;
  readonly port: number;
}

export interface Discovery {
  /** Rejects with a GenRpcError `external_source_error` when it cannot tell; must give up when `signal` aborts. */
  resolve(node: string, signal: AbortSignal): Promise<Location>;
}

/** What holds for nodes of which nothing is said. */
export interface Fallback {
  readonly driver: string;
  readonly port: number;
  /** Ports by driver, where they differ. */
  readonly ports?: ReadonlyMap<string, number>;
}

export function located(host: string, { driver, port, ports }: Fallback, told: Partial<Location> = {}): Location {
  return { host, driver, port: ports?.get(told.driver ?? driver) ?? port, ...told };
}
