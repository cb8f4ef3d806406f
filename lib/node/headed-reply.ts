/** Headers of a reply are those of one attempt, of the one that brought it: they wait here until that is known. */
import {
  noteThrown,
  type Cancel,
  type ItemSource,
  type OnReplyHeaders,
  type ReplySink,
} from '../client/pending-calls.js';
import type { Journal } from '../connection/journal.js';
import type { GenRpcError } from '../protocol/errors.js';
import type { Headers, Invocation } from '../protocol/invocation.js';

interface Said {
  readonly headers: Headers;
  readonly node: string;
}

export class HeadedReply implements ReplySink {
  private said: Said | undefined;
  /** Has a function said anything yet, in whichever attempt? */
  private begun = false;
  /** Does nobody wait for it any more? */
  private over = false;

  constructor(
    private readonly sink: ReplySink,
    private readonly listener: OnReplyHeaders,
    private readonly invocation: Invocation,
    private readonly journal: Journal,
  ) {}

  /** Whoever listens may give the call up: then nothing of the reply comes behind its headers. */
  start(request: (reply: this) => Cancel): Cancel {
    const cancel = request(this);
    return () => {
      this.over = true;
      return cancel() || this.begun;
    };
  }

  /** What an attempt has said is no part of the reply: there is another, or none. */
  forget(): this {
    this.said = undefined;
    return this;
  }

  hold(headers: Headers, node: string): void {
    this.begun = true;
    this.said = { headers, node };
  }

  item(value: unknown, cost: number, from: ItemSource): 'kept' | void {
    this.tell();
    if (!this.over) return this.sink.item(value, cost, from);
  }

  done(value: unknown): void {
    this.tell();
    if (!this.over) this.sink.done(value);
  }

  failed(error: GenRpcError): void {
    this.tell();
    if (!this.over) this.sink.failed(error);
  }

  private tell(): void {
    const { said } = this;
    if (said === undefined) return;
    this.said = undefined;
    try {
      this.listener(said.headers, said.node);
    } catch (error) {
      noteThrown(this.journal, this.invocation, error);
    }
  }
}
