/** The domain name system, asked by Node's own resolver (c-ares), not by the system's `getaddrinfo`, which hides TTLs. */
import { Resolver } from 'node:dns';
import type { NameServer } from '../ports/name-server.js';

/** Two attempts, the second waiting twice as long, within the time that a look-up has. */
const TRIES = 2;
const PARTS = 3;

type Answer<T> = (error: Error | null, records: T) => void;

/**
 * @param servers `10.0.0.10`, `10.0.0.10:53`, `[fd00::10]:53`, in the order to ask; without them, those of this machine
 * @param timeoutMs for one look-up, whatever it takes
 */
export function systemNameServer(servers: readonly string[] | undefined, timeoutMs: number): NameServer {
  /** Each has a resolver of its own: one that is given up must not end the others. */
  const look = <T>(signal: AbortSignal, ask: (resolver: Resolver, answer: Answer<T>) => void): Promise<T> =>
    new Promise<T>((resolve, reject) => {
      signal.throwIfAborted();
      const resolver = new Resolver({ timeout: Math.max(1, Math.floor(timeoutMs / PARTS)), tries: TRIES });
      if (servers !== undefined) resolver.setServers(servers);
      const cancel = (): void => resolver.cancel();
      signal.addEventListener('abort', cancel, { once: true });
      ask(resolver, (error, records) => {
        signal.removeEventListener('abort', cancel);
        if (error === null) resolve(records);
        else reject(error);
      });
    });
  return {
    a: (name, signal) => look(signal, (resolver, answer) => resolver.resolve4(name, { ttl: true }, answer)),
    aaaa: (name, signal) => look(signal, (resolver, answer) => resolver.resolve6(name, { ttl: true }, answer)),
    srv: (name, signal) => look(signal, (resolver, answer) => resolver.resolveSrv(name, answer)),
  };
}
