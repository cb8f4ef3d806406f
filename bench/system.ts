/** What a system has to bring to be measured: a server and a client of the same few functions. */

/** The functions that workloads call. A new workload adds what it needs here; systems offer what they can. */
export interface Operations {
  /** Resolves with the sum. */
  add(a: number, b: number): Promise<number>;
  /** As `add`, of a handler with a guard, a pipe and an interceptor. */
  addEnhanced(a: number, b: number): Promise<number>;
  /** As `addEnhanced`, of a controller that is made for each message. */
  addScoped(a: number, b: number): Promise<number>;
  /** Finds out so many times which node a call would go to. */
  choose(times: number): void;
  /** Sends one event and forgets it. */
  note(value: number): void;
  /** How many events the server's handler has seen since it started. */
  notes(): Promise<number>;
  /** Makes `count` connections beside that of the client, one after another, and ends them. */
  connect(count: number): Promise<void>;
  /** Makes connections to the same node, each by a key of its own, until there are `count`. */
  open(count: number): Promise<void>;
  /** As `add`, over one of the connections: they count from 0. */
  addOver(connection: number, a: number, b: number): Promise<number>;
  /** Keeps the function busy for so many rounds of nothing; resolves with what came of it. */
  spinOver(connection: number, rounds: number): Promise<number>;
  /** Tells each of the first `nodes` nodes `message`, `times` times at once. Resolves once all their handlers have run. */
  tell(nodes: number, message: unknown, times: number): Promise<void>;
  /** Has one handler stream `{ n: 1 }` to `{ n: items }`. Resolves with the sum of what came, once the stream has ended. */
  count(items: number): Promise<number>;
  /** Resolves with the same bytes, from the other side. */
  echo(bytes: Buffer): Promise<Uint8Array>;
  /** Resolves with so many bytes, made for this call. */
  fetch(size: number): Promise<Uint8Array>;
}

/** The calling side. It lacks the functions that its system cannot offer, and sits those workloads out. */
export interface BenchClient extends Partial<Operations> {
  /** Ends now. */
  close(): Promise<void> | void;
}

/** A process that serves beside the server, and is measured with it. */
export interface Helper {
  ask(command: { readonly name: 'mark' | 'cpu' }): Promise<unknown>;
}

/** The answering side. */
export interface BenchServer {
  /** A free port of the loopback interface. */
  readonly port: number;
  readonly helpers?: readonly Helper[];
  /** Ends now. */
  close(): Promise<void> | void;
}

/** A module in `systems/`: the two halves, each run in a process of its own. */
export interface System {
  /** @param detail what only this system's servers are told */
  serve(detail?: string): Promise<BenchServer>;
  /** Resolves once the first call can be made. */
  connect(port: number): Promise<BenchClient>;
}
