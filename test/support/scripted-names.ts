/** A name server that answers what a test says, when it says so. */
import type { NamedAddress, NameServer, ServiceTarget } from '../../lib/ports/name-server.js';

type Answer<T> = readonly T[] | Error | 'nothing';

export class ScriptedNames implements NameServer {
  /** By question, `A math.test`; of others there is nothing. */
  readonly answers = new Map<string, Answer<unknown>>();
  readonly asked: string[] = [];
  /** Questions that were given up. */
  readonly abandoned: string[] = [];

  a(name: string, signal: AbortSignal): Promise<readonly NamedAddress[]> {
    return this.answer(`A ${name}`, signal);
  }

  aaaa(name: string, signal: AbortSignal): Promise<readonly NamedAddress[]> {
    return this.answer(`AAAA ${name}`, signal);
  }

  srv(name: string, signal: AbortSignal): Promise<readonly ServiceTarget[]> {
    return this.answer(`SRV ${name}`, signal);
  }

  /** From now on; `nothing`: never an answer, whatever becomes of the question. */
  says(question: string, answer: Answer<unknown>): void {
    this.answers.set(question, answer);
  }

  fails(question: string, code: string): void {
    this.says(question, failure(code));
  }

  private async answer<T>(question: string, signal: AbortSignal): Promise<readonly T[]> {
    this.asked.push(question);
    signal.addEventListener('abort', () => this.abandoned.push(question), { once: true });
    const answer = this.answers.get(question) ?? failure('ENODATA');
    if (answer === 'nothing') return new Promise(() => {});
    if (answer instanceof Error) throw answer;
    return answer as readonly T[];
  }
}

function failure(code: string): Error {
  return Object.assign(new Error(`query ${code}`), { code });
}

export function addresses(ttl: number, ...all: readonly string[]): NamedAddress[] {
  return all.map((address) => ({ address, ttl }));
}
