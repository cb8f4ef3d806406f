/** One call or cast to many targets at once: `multicall`, `evalEverywhere`, `abcast`, `sbcast`. */
import type { Target } from '../client/target.js';
import { isGenRpcError, type GenRpcError } from '../protocol/errors.js';
import { splitRoute, type Invocation } from '../protocol/invocation.js';
import { SharedPayload } from '../protocol/payload.js';
import type { Clock } from '../ports/clock.js';
import { headersOf, noStream, targetOf, type CallOptions, type CastOptions, type ModuleRef } from './call-options.js';
import type { Calls } from './calls.js';
import { SingleReply } from './single-reply.js';

/** Nodes, or nodes with a key each. What stands for several, a module or a name without a host, stands for all of them here. */
export type Targets = readonly (string | Target)[];

/** Arguments that may have targets in front of them. Without: the own node and every connected one, each without a key. */
export type Multi<Rest extends readonly unknown[]> = Rest | [targets: Targets, ...rest: Rest];

export type MulticallArgs = [
  module: ModuleRef,
  fn: string,
  args?: readonly unknown[] | undefined,
  options?: CallOptions,
];
export type EvalArgs = [module: ModuleRef, fn: string, args?: readonly unknown[] | undefined, options?: CastOptions];
export type BroadcastArgs<Options> = [name: string, message?: unknown, options?: Options];

/** What became of one target's call. `ms`: until the reply was there. */
export type CallOutcome<T> =
  | { readonly node: string; readonly key?: unknown; readonly ok: true; readonly value: T; readonly ms: number }
  | {
      readonly node: string;
      readonly key?: unknown;
      readonly ok: false;
      readonly error: GenRpcError;
      readonly ms: number;
    };

export interface MulticallResult<T> {
  /** One for each target, in the order asked. */
  readonly outcomes: readonly CallOutcome<T>[];
  /** The values among them. */
  readonly results: readonly T[];
  /** Nodes that gave no value. */
  readonly badNodes: readonly string[];
}

/** Nodes by what became of their cast, in the order asked. */
export interface CastReport {
  /** Written, or queued while the connection is made. */
  readonly accepted: readonly string[];
  /** Not sent, and counted as `cast_not_accepted`. */
  readonly refused: readonly string[];
}

export interface SbcastResult {
  /** Nodes that have the name and have begun to handle the message. */
  readonly good: readonly string[];
  /** Nodes that are down, refused, have no such name, or did not answer in time. */
  readonly bad: readonly string[];
}

export interface BroadcastPorts {
  readonly calls: Calls;
  readonly clock: Clock;
  /** Deadline of an `sbcast` that brings none, ms. */
  readonly sbcastTimeout: number;
  /** The own node and those that it has a connection to. */
  everyone(): string[];
}

/** One of many: how it is called, and how it is told of. */
interface Addressee {
  readonly target: Target;
  readonly node: string;
  readonly key: unknown;
  /** Why there is nobody behind it. */
  readonly missing?: GenRpcError | undefined;
}

export class Broadcasts {
  constructor(private readonly ports: BroadcastPorts) {}

  async multicall<T>(given: Multi<MulticallArgs>): Promise<MulticallResult<T>> {
    const [targets, module, fn, args = [], options = {}] = this.withTargets<MulticallArgs>(given);
    const invocation = this.ports.calls.invocation(module, fn, args, options);
    const outcomes = await this.callAll<T>(targets, invocation, options);
    return {
      outcomes,
      results: outcomes.filter((outcome) => outcome.ok).map(({ value }) => value),
      badNodes: nodesWhere(outcomes, false),
    };
  }

  evalEverywhere(given: Multi<EvalArgs>): CastReport {
    const [targets, module, fn, args = [], options = {}] = this.withTargets<EvalArgs>(given);
    return this.castAll(targets, this.ports.calls.invocation(module, fn, args, options));
  }

  abcast(given: Multi<BroadcastArgs<CastOptions>>): CastReport {
    const [targets, name, message, options = {}] = this.withTargets<BroadcastArgs<CastOptions>>(given);
    return this.castAll(targets, this.message(name, message, options));
  }

  async sbcast(given: Multi<BroadcastArgs<CallOptions>>): Promise<SbcastResult> {
    const [targets, name, message, options = {}] = this.withTargets<BroadcastArgs<CallOptions>>(given);
    const invocation = { ...this.message(name, message, options), deliver: true };
    const { sbcastTimeout } = this.ports;
    const outcomes = await this.callAll(targets, invocation, { ...options, timeout: options.timeout ?? sbcastTimeout });
    return { good: nodesWhere(outcomes, true), bad: nodesWhere(outcomes, false) };
  }

  private withTargets<Rest extends readonly unknown[]>(given: Multi<Rest>): [Addressee[], ...Rest] {
    const [first, ...rest] = given as readonly unknown[];
    const named = Array.isArray(first);
    const targets = named ? (first as Targets) : this.ports.everyone();
    const addressees = targets.flatMap((target) => this.addressees(targetOf(target)));
    return [addressees, ...((named ? rest : given) as unknown as Rest)];
  }

  /** Where nobody is known, one says so: it does not become the call of whoever comes first. */
  private addressees(target: Target): Addressee[] {
    const nodes = this.ports.calls.nodesOf(target);
    if (nodes.length > 0) return nodes.map((one) => ({ target: one, node: one.node, key: one.key }));
    const missing = this.ports.calls.nobodyOf(target);
    return [{ target, node: 'module' in target ? target.module : target.node, key: target.key, missing }];
  }

  private message(name: string, message: unknown, { headers, ordered = false }: CastOptions): Invocation {
    const { module, fn } = splitRoute(name);
    const called = this.ports.calls.functionName(module, fn);
    return { name: called, args: message, single: true, headers: headersOf(headers), ordered };
  }

  /** Resolves once every target has its outcome; whatever happens to one of them is its own. */
  private callAll<T>(
    addressees: readonly Addressee[],
    given: Invocation,
    options: CallOptions,
  ): Promise<CallOutcome<T>[]> {
    if (given.stream !== undefined) return Promise.reject(noStream('A call of many nodes'));
    const invocation = { ...given, shared: new SharedPayload() };
    return new Promise((resolve) => {
      const outcomes: CallOutcome<T>[] = [];
      let missing = addressees.length;
      const ended = (index: number, outcome: CallOutcome<T>): void => {
        outcomes[index] = outcome;
        missing -= 1;
        if (missing === 0) resolve(outcomes);
      };
      if (missing === 0) return resolve(outcomes);
      addressees.forEach((addressee, index) => {
        const part = new Part<T>(addressee, index, this.ports.clock, ended);
        if (addressee.missing !== undefined) part.failed(addressee.missing);
        else this.ports.calls.request(addressee.target, invocation, options, part);
      });
    });
  }

  private castAll(addressees: readonly Addressee[], given: Invocation): CastReport {
    const accepted: string[] = [];
    const refused: string[] = [];
    const invocation = { ...given, shared: new SharedPayload() };
    for (const one of addressees) (this.isAccepted(one, invocation) ? accepted : refused).push(one.node);
    return { accepted, refused };
  }

  /** A target that will not have it is one of several; what can be sent to none is the caller's to hear. */
  private isAccepted({ target, key }: Addressee, invocation: Invocation): boolean {
    try {
      this.ports.calls.post(target, invocation);
      return true;
    } catch (error) {
      const isMessages = isGenRpcError(error) && error.code === 'encode_error' && this.ports.calls.isKey(key);
      if (isGenRpcError(error) && !isMessages) return false;
      throw error;
    }
  }
}

/** One target's call of a broadcast. */
class Part<T> extends SingleReply {
  private readonly startedAt: number;

  constructor(
    private readonly addressee: Addressee,
    private readonly index: number,
    private readonly clock: Clock,
    private readonly ended: (index: number, outcome: CallOutcome<T>) => void,
  ) {
    super();
    this.startedAt = clock.now();
  }

  succeeded(result: unknown): void {
    const value = result as T;
    const { node, key } = this.addressee;
    const ms = this.clock.now() - this.startedAt;
    this.ended(this.index, key === undefined ? { node, ok: true, value, ms } : { node, key, ok: true, value, ms });
  }

  failed(error: GenRpcError): void {
    const { node, key } = this.addressee;
    const ms = this.clock.now() - this.startedAt;
    this.ended(this.index, key === undefined ? { node, ok: false, error, ms } : { node, key, ok: false, error, ms });
  }
}

function nodesWhere(outcomes: readonly CallOutcome<unknown>[], ok: boolean): string[] {
  return outcomes.filter((outcome) => outcome.ok === ok).map(({ node }) => node);
}
