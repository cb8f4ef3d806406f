/** The domain name system, asked by Node's own resolver (c-ares), not by the system's `getaddrinfo`, which hides TTLs. */
import { Resolver } from 'node:dns';
import { isEmptyAnswer, type NameServer } from '../ports/name-server.js';

/** Two attempts, as a datagram may be lost; the second waits twice as long. */
const TRIES = 2;
const PARTS = 3;

type Answer<T> = (error: Error | null, records: T) => void;
type Ask<T> = (resolver: Resolver, answer: Answer<T>) => void;

/**
 * @param servers `10.0.0.10`, `10.0.0.10:53`, `[fd00::10]:53`, in the order to ask; without them, those of this machine
 * @param timeoutMs for one look-up, all servers and attempts together
 */
export function systemNameServer(servers: readonly string[] | undefined, timeoutMs: number): NameServer {
  /** One after the other: c-ares, as Node sets it up, passes over a server that is silent, but not one that fails. */
  const look = async <T>(signal: AbortSignal, ask: Ask<T>): Promise<T> => {
    const all = servers ?? new Resolver().getServers();
    let failure: unknown;
    for (const server of all) {
      try {
        return await lookAt(server, timeoutMs / all.length, signal, ask);
      } catch (error) {
        if (isEmptyAnswer(error) || signal.aborted) throw error;
        failure ??= error;
      }
    }
    throw failure;
  };
  return {
    a: (name, signal) => look(signal, (resolver, answer) => resolver.resolve4(name, { ttl: true }, answer)),
    aaaa: (name, signal) => look(signal, (resolver, answer) => resolver.resolve6(name, { ttl: true }, answer)),
    srv: (name, signal) => look(signal, (resolver, answer) => resolver.resolveSrv(name, answer)),
  };
}

/** Each question has a resolver of its own: one that is given up must not end the others. */
function lookAt<T>(server: string, ms: number, signal: AbortSignal, ask: Ask<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const resolver = new Resolver({ timeout: Math.max(1, Math.floor(ms / PARTS)), tries: TRIES });
    resolver.setServers([server]);
    const cancel = (): void => resolver.cancel();
    signal.addEventListener('abort', cancel, { once: true });
    ask(resolver, (error, records) => {
      signal.removeEventListener('abort', cancel);
      if (error === null) resolve(records);
      else reject(error);
    });
  });
}
