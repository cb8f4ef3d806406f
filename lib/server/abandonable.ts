/** A call that may be given up while its function runs: who is told of that, and of a node that begins to drain. */
import { Deadline } from '../connection/deadlines.js';
import type { GenRpcError } from '../protocol/errors.js';
import { currentCalls, type Dependent } from './current-call.js';

export abstract class Abandonable extends Deadline {
  private controller: AbortController | undefined;
  private drainController: AbortController | undefined;
  private draining = false;
  private abortReason: GenRpcError | undefined;
  /** Calls that its function has made. */
  private dependents: Set<Dependent> | undefined;

  /** From here on the deadline stops the function, not only its caller. */
  abstract watchDeadline(): void;

  /** Does nobody wait any more? */
  get abandoned(): boolean {
    return this.abortReason !== undefined;
  }

  get abandonedBy(): GenRpcError | undefined {
    return this.abortReason;
  }

  bind(dependent: Dependent): void {
    (this.dependents ??= new Set()).add(dependent);
  }

  unbind(dependent: Dependent): void {
    this.dependents?.delete(dependent);
  }

  /** Made when first asked for: an AbortController costs more than most calls. */
  get signal(): AbortSignal {
    if (this.controller === undefined) {
      this.controller = new AbortController();
      if (this.abortReason !== undefined) this.controller.abort(this.abortReason);
      else this.watchDeadline();
    }
    return this.controller.signal;
  }

  get drainSignal(): AbortSignal {
    const controller = (this.drainController ??= new AbortController());
    if (this.draining) controller.abort();
    return controller.signal;
  }

  /** The node begins to drain: the function is told, and goes on. Safe to repeat. */
  drain(): void {
    this.draining = true;
    currentCalls.outside(() => this.drainController?.abort());
  }

  /** Tells the function, and the calls that it has made. */
  protected abandon(reason: GenRpcError): void {
    this.abortReason = reason;
    currentCalls.outside(() => this.controller?.abort(reason));
    for (const dependent of this.dependents ?? []) dependent.abandon(reason);
  }
}
