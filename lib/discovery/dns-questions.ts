/** Questions to a name server that end in time, whatever becomes of the answer. */
import type { Clock } from '../ports/clock.js';
import { isEmptyAnswer, type NamedAddress, type NameServer, type ServiceTarget } from '../ports/name-server.js';

export class DnsQuestions {
  constructor(
    private readonly server: NameServer,
    private readonly clock: Clock,
    private readonly timeoutMs: number,
    private readonly closing: AbortSignal,
  ) {}

  a(name: string, signal?: AbortSignal): Promise<readonly NamedAddress[]> {
    return this.ask('A', name, signal, (within) => this.server.a(name, within));
  }

  aaaa(name: string, signal?: AbortSignal): Promise<readonly NamedAddress[]> {
    return this.ask('AAAA', name, signal, (within) => this.server.aaaa(name, within));
  }

  srv(name: string, signal?: AbortSignal): Promise<readonly ServiceTarget[]> {
    return this.ask('SRV', name, signal, (within) => this.server.srv(name, within));
  }

  private async ask<T>(
    type: string,
    name: string,
    signal: AbortSignal | undefined,
    ask: (within: AbortSignal) => Promise<readonly T[]>,
  ): Promise<readonly T[]> {
    try {
      return await this.inTime(signal === undefined ? [this.closing] : [this.closing, signal], ask);
    } catch (cause) {
      if (isEmptyAnswer(cause)) return [];
      throw new Error(`The ${type} records of ${name} cannot be looked up: ${(cause as Error).message}`, { cause });
    }
  }

  /** A resolver may never call back, not even when it is told to give up. */
  private inTime<T>(signals: readonly AbortSignal[], ask: (within: AbortSignal) => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      for (const signal of signals) signal.throwIfAborted();
      const giving = new AbortController();
      const end = (): void => {
        timer.cancel();
        for (const signal of signals) signal.removeEventListener('abort', abort);
      };
      const giveUp = (why: Error): void => {
        end();
        reject(why);
        giving.abort(why);
      };
      const abort = ({ target }: Event): void => giveUp((target as AbortSignal).reason as Error);
      const late = `there was no answer within ${this.timeoutMs} ms`;
      const timer = this.clock.after(this.timeoutMs, () => giveUp(new Error(late)));
      for (const signal of signals) signal.addEventListener('abort', abort, { once: true });
      ask(giving.signal).then(resolve, reject).finally(end);
    });
  }
}
