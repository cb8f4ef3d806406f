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
