/** Calls and casts that somebody follows: one trace each, over all attempts and nodes. */
import type { Cancel, ItemSource, ReplySink } from '../client/pending-calls.js';
import type { CastOutcome } from '../client/queued-cast.js';
import { choiceOf, type NodeTarget, type Target } from '../client/target.js';
import { isGenRpcError, type GenRpcError } from '../protocol/errors.js';
import type { Follower, Invocation } from '../protocol/invocation.js';
import type { OutgoingTrace, TracedPlace, Tracing } from '../ports/tracing.js';
import type { CallOptions } from './call-options.js';
import { Calls, type CallsParts } from './calls.js';
import { streamInContext } from './stream-in-context.js';

/** What calls look like to those who make them, and nothing more: `Calls` itself knows of no tracing. */
export class TracedCalls extends Calls {
  constructor(
    private readonly of: CallsParts,
    private readonly tracing: Tracing,
  ) {
    super(of);
  }

  override request(target: Target, invocation: Invocation, options: CallOptions, sink: ReplySink): Cancel {
    const kind = invocation.deliver === true ? 'cast' : 'call';
    const traced = this.follow(target, invocation, kind);
    if (traced === undefined) return super.request(target, invocation, options, sink);
    try {
      const cancel = super.request(target, traced.invocation, options, traced.sink(sink));
      return () => traced.cancel(cancel);
    } catch (error) {
      traced.threw(error);
      throw error;
    }
  }

  override post(target: Target, invocation: Invocation, outcome?: CastOutcome): void {
    const traced = this.follow(target, invocation, 'cast');
    if (traced === undefined) return super.post(target, invocation, outcome);
    try {
      super.post(target, traced.invocation, traced.outcome(outcome));
    } catch (error) {
      traced.threw(error);
      throw error;
    }
  }

  /** `undefined` for one that is followed already: a verb that comes back to itself is still one. */
  private follow(target: Target, invocation: Invocation, kind: 'call' | 'cast'): Followed | undefined {
    if (invocation.follower !== undefined) return undefined;
    const { name, headers } = invocation;
    const node = choiceOf(target) === undefined ? (target as NodeTarget).node : undefined;
    const trace = this.tracing.outgoing({ kind, module: name.module, fn: name.fn, headers, node });
    if (trace === undefined) return undefined;
    return new Followed(trace, invocation, (to) => this.placeOf({ node: to, key: target.key }));
  }

  /** Where the node is called, if there is a connection to it. */
  private placeOf(target: NodeTarget): TracedPlace | undefined {
    if (target.node === this.of.node) return undefined;
    const location = this.of.dispatcher.locationOf(target);
    if (location === undefined) return undefined;
    const { driver, host, port, address } = location;
    return { host, port, address, transport: transportOf(driver) };
  }
}

/** What the drivers of this package are made of; of others nobody knows. */
export function transportOf(driver: string): 'tcp' | undefined {
  return driver === 'tcp' || driver === 'tls' ? 'tcp' : undefined;
}

class Followed implements Follower {
  readonly invocation: Invocation;
  private node: string | undefined;

  constructor(
    private readonly trace: OutgoingTrace,
    invocation: Invocation,
    private readonly placeOf: (node: string) => TracedPlace | undefined,
  ) {
    const { stream } = invocation;
    const inContext = stream === undefined ? undefined : streamInContext(stream);
    this.invocation = { ...invocation, stream: inContext, headers: trace.headers, follower: this };
  }

  sentTo(node: string): void {
    this.node = node;
    this.trace.attempt(node);
  }

  sink(sink: ReplySink): ReplySink {
    return new FollowedReply(sink, (error) => this.ended(error?.code));
  }

  outcome(outcome: CastOutcome | undefined): CastOutcome {
    return {
      written: () => {
        this.ended(undefined);
        outcome?.written();
      },
      dropped: (error) => {
        this.ended(error.code);
        outcome?.dropped(error);
      },
    };
  }

  cancel(cancel: Cancel): boolean {
    const maybeExecuted = cancel();
    this.ended('cancelled');
    return maybeExecuted;
  }

  threw(error: unknown): void {
    this.ended(isGenRpcError(error) ? error.code : 'invalid_argument');
  }

  private ended(code: string | undefined): void {
    this.trace.ended(code, this.node === undefined ? undefined : this.placeOf(this.node));
  }
}

class FollowedReply implements ReplySink {
  constructor(
    private readonly sink: ReplySink,
    private readonly ended: (error?: GenRpcError) => void,
  ) {}

  item(value: unknown, cost: number, from: ItemSource): 'kept' | void {
    return this.sink.item(value, cost, from);
  }

  done(value: unknown): void {
    this.ended();
    this.sink.done(value);
  }

  failed(error: GenRpcError): void {
    this.ended(error);
    this.sink.failed(error);
  }
}
