/** Runs functions: a value or a throw becomes an answer. Never throws itself. */
import { isItemStream } from '../connection/item-stream.js';
import type { Journal } from '../connection/journal.js';
import { GenRpcError, isGenRpcError } from '../protocol/errors.js';
import { isArgumentList, joinRoute, MAX_ARGUMENTS } from '../protocol/invocation.js';
import { printable } from '../protocol/node-name.js';
import type { Clock } from '../ports/clock.js';
import type { IncomingTrace } from '../ports/tracing.js';
import { withoutCallKey } from '../protocol/call-key.js';
import { currentCalls } from './current-call.js';
import type { Callable, Caller, ModuleRegistry } from './module-registry.js';
import { streamReply } from './reply-stream.js';
import type { IncomingCall, RunningCall } from './running-call.js';

/** What there is to follow of a call that has come here. */
export type FollowedCall = Pick<RunningCall, 'kind' | 'name' | 'headers' | 'caller'>;

export interface InvokerOptions {
  readonly registry: ModuleRegistry;
  readonly journal: Journal;
  readonly clock: Clock;
  /** Send messages of unexpected errors to remote callers. For development only. */
  readonly exposeErrors: boolean;
  /** Does what functions call end with the calls that they run for? */
  readonly inheritDeadlines: boolean;
  /** `undefined`: nobody follows calls. */
  readonly follow?: ((call: FollowedCall, known: boolean) => IncomingTrace | undefined) | undefined;
}

const NO_LIST = `The arguments of a call must be a list of at most ${MAX_ARGUMENTS}.`;

export class Invoker {
  constructor(private readonly options: InvokerOptions) {}

  /** `readArgs` is asked only once policy, version and name have said yes. */
  run(call: RunningCall, readArgs: () => unknown): void {
    const { registry, follow } = this.options;
    const callable = registry.resolve(call.name);
    if (follow !== undefined) call.trace = follow(call, !(callable instanceof GenRpcError));
    if (callable instanceof GenRpcError) return this.refuse(call, callable);
    let args: unknown;
    try {
      args = readArgs();
    } catch (error) {
      return call.fail(error as GenRpcError);
    }
    if (!call.single && !isArgumentList(args)) return call.fail(new GenRpcError('protocol_error', NO_LIST));
    call.begin();
    const { trace } = call;
    if (trace === undefined) this.start(call, callable, args);
    else trace.run(() => this.start(call, callable, args));
  }

  /** It came here and is not started: whoever follows calls is told why. */
  turnedAway({ name, headers }: IncomingCall, caller: Caller, kind: FollowedCall['kind'], { code }: GenRpcError): void {
    const { registry, follow } = this.options;
    if (follow === undefined) return;
    follow({ kind, name, headers: withoutCallKey(headers), caller }, registry.has(name))?.ended(code);
  }

  private start(call: RunningCall, callable: Callable, args: unknown): void {
    if (this.options.inheritDeadlines && currentCalls.isWorthwhile())
      currentCalls.run(call, () => this.execute(call, callable, args));
    else this.execute(call, callable, args);
  }

  private execute(call: RunningCall, callable: Callable, args: unknown): void {
    try {
      const result = callable.run(args, call);
      if (isThenable(result)) {
        result.then(
          (value) => this.answer(call, callable, value),
          (error: unknown) => this.crash(call, error),
        );
      } else {
        this.answer(call, callable, result);
      }
    } catch (error) {
      this.crash(call, error);
    }
  }

  private answer(call: RunningCall, callable: Callable, value: unknown): void {
    try {
      // A producer that nobody waits for must not even begin: nobody would stop it.
      if (!isItemStream(value) || call.abandoned) return call.succeed(value);
      streamReply(call, value, this.options.clock, {
        failed: (error) => this.crash(call, error, callable),
        stuck: (error) => call.noteFailure(error),
      });
    } catch (error) {
      this.crash(call, error);
    }
  }

  private refuse(call: RunningCall, error: GenRpcError): void {
    this.options.journal.note('call_refused', () => {
      return `Refused ${printable(joinRoute(call.name))} for ${call.caller.node}: ${error.code}`;
    });
    call.fail(error);
  }

  private crash(call: RunningCall, cause: unknown, callable?: Callable): void {
    if (isOver(call, cause)) return call.fail(outOfTime(call));
    const meant = isMeantForCallers(cause) ? cause : callable?.failureOf?.(cause);
    if (meant === undefined) call.noteFailure(cause);
    call.fail(meant ?? this.accidentOf(call, cause));
  }

  /** What a remote caller may know of an accident: that it happened. */
  private accidentOf(call: RunningCall, cause: unknown): GenRpcError {
    const { exposeErrors } = this.options;
    const message = exposeErrors ? describe(cause) : `${joinRoute(call.name)} failed.`;
    const details = isGenRpcError(cause) ? { code: cause.code } : undefined;
    return new GenRpcError('handler_failed', message, { details, cause });
  }
}

/** Does the function fail because of what has ended its own call, which is no failure of it? */
function isOver(call: RunningCall, cause: unknown): boolean {
  if (!isGenRpcError(cause)) return false;
  return call.abandoned ? call.abandonedBy?.code === cause.code : cause.code === 'timeout' && call.remainingMs() === 0;
}

/** Its caller is about to find out by itself. */
function outOfTime(call: RunningCall): GenRpcError {
  return new GenRpcError('timeout', `${joinRoute(call.name)} had no time left.`);
}

/** A deliberate failure. Any other error of ours is one that the function met itself, on a call of its own. */
function isMeantForCallers(cause: unknown): cause is GenRpcError {
  return isGenRpcError(cause) && cause.code === 'handler_failed';
}

function describe(cause: unknown): string {
  try {
    return cause instanceof Error ? (cause.stack ?? cause.message) : String(cause);
  } catch {
    return 'The thrown value cannot be shown.';
  }
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && typeof (value as PromiseLike<unknown>).then === 'function';
}
