/** Whoever follows calls from node to node, so that everything done for one request can be looked at together. */

/** What travels beside the arguments of a call. */
type Headers = ReadonlyMap<string, string>;

/** A call or a cast. Its arguments are nobody's business here. */
export interface TracedCall {
  /** `cast`: nobody waits for the end of what it starts; of an `sbcast`, only for its beginning. */
  readonly kind: 'call' | 'cast';
  /** Empty for a function of the nameless module. */
  readonly module: string;
  readonly fn: string;
  readonly headers: Headers | undefined;
}

/** One that is asked for here. */
export interface OutgoingCall extends TracedCall {
  /** Where it goes; `undefined` while whichever node will do is still to be chosen. */
  readonly node: string | undefined;
}

/** One that has come here. */
export interface IncomingCall extends TracedCall {
  /** This node. */
  readonly node: string;
  /** May its caller call that, and is it there? Otherwise its names are whatever somebody wrote. */
  readonly known: boolean;
  /** Who calls, as its handshake proved it, and from where; this node itself from `local`. */
  readonly caller: { readonly node: string; readonly address: string };
  /** The port of this node that it came to; `undefined` where there is none, of this node itself for one. */
  readonly port: number | undefined;
  /** What it came over; `undefined` where that is not known, or nothing. */
  readonly transport: 'tcp' | undefined;
}

/** Where a node accepts connections. */
export interface TracedPlace {
  readonly host: string;
  readonly port: number;
  /** That host, as the connection has found it. */
  readonly address: string;
  readonly transport: 'tcp' | undefined;
}

/**
 * Is told of the calls that leave a node, and of those that come to it, while they begin. Whatever it throws is noted
 * (`tracing_failed`) and harms no call.
 */
export interface Tracing {
  /** Asked where the call is made, in that context. `undefined`: it is not followed. */
  outgoing(call: OutgoingCall): OutgoingTrace | undefined;
  /** `undefined`: it is not followed. */
  incoming(call: IncomingCall): IncomingTrace | undefined;
}

/** Follows one call of this node, over all attempts to make it. */
export interface OutgoingTrace {
  /** Sent in place of the headers of the call: those, and its own. They are left out where they do not fit a frame. */
  readonly headers: Headers | undefined;
  /** It is made on this node; for the second time, and so on, where it was not started or may be repeated. */
  attempt(node: string): void;
  /**
   * Told once: with the code of the error that its caller is told, `cancelled` where the caller gave it up, or nothing.
   * Of a stream, at its end; of a cast, when it was written.
   * @param place where the last attempt went, if there is a connection to there
   */
  ended(code: string | undefined, place: TracedPlace | undefined): void;
}

/** Follows one call to this node. */
export interface IncomingTrace {
  /** Runs the function, so that whatever it does belongs to this. Calls `body` at once, and once. */
  run(body: () => void): void;
  /** Told once: with the code of the error that the call was answered with or ended by, or nothing. Of a stream, at its end. */
  ended(code: string | undefined): void;
}
