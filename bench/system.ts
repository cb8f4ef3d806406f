/** What a system has to bring to be measured: a server and a client of the same few functions. */

/** The functions that workloads call. A new workload adds what it needs here; systems offer what they can. */
export interface Operations {
  /** Resolves with the sum. */
  add(a: number, b: number): Promise<number>;
  /** Sends one event and forgets it. */
  note(value: number): void;
  /** How many events the server's handler has seen since it started. */
  notes(): Promise<number>;
}

/** The calling side. It lacks the functions that its system cannot offer, and sits those workloads out. */
export interface BenchClient extends Partial<Operations> {
  /** Ends now. */
  close(): Promise<void> | void;
}

/** The answering side. */
export interface BenchServer {
  /** A free port of the loopback interface. */
  readonly port: number;
  /** Ends now. */
  close(): Promise<void> | void;
}

/** A module in `systems/`: the two halves, each run in a process of its own. */
export interface System {
  serve(): Promise<BenchServer>;
  /** Resolves once the first call can be made. */
  connect(port: number): Promise<BenchClient>;
}
