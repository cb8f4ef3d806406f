/** A source of the user's own: asked for every node that is dialled. (gen_rpc: `{external, Module}`) */
import { GenRpcError, isGenRpcError } from '../protocol/errors.js';
import { hostOf, printable } from '../protocol/node-name.js';
import { located, type Discovery, type Fallback, type Location } from './discovery.js';

export class ExternalDiscovery implements Discovery {
  /**
   * @param locate answers with what differs from the default, or throws
   * @param fallback driver and port where it says nothing
   */
  constructor(
    private readonly locate: (node: string) => Partial<Location> | Promise<Partial<Location>>,
    private readonly fallback: Fallback,
  ) {}

  async resolve(node: string): Promise<Location> {
    const host = hostOf(node);
    try {
      return checked(node, located(host, this.fallback, told(await this.locate(node))));
    } catch (cause) {
      if (isGenRpcError(cause) && cause.code === 'external_source_error') throw cause;
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new GenRpcError('external_source_error', `The source of nodes failed for ${node}: ${reason}`, { cause });
    }
  }
}

/** `{ port: undefined }` means the default, as leaving it out does; so does no answer at all. */
function told(answer: Partial<Location> | null | undefined): Partial<Location> {
  if (typeof (answer ?? {}) !== 'object' || Array.isArray(answer)) {
    throw new Error(`it gave ${printable(answer)}, where an object { host, port, driver } was expected.`);
  }
  return Object.fromEntries(Object.entries(answer ?? {}).filter(([, one]) => one !== undefined));
}

/** A source may answer anything. */
function checked(node: string, { driver, host, port }: Location): Location {
  const valid = typeof driver === 'string' && typeof host === 'string' && host !== '';
  if (valid && Number.isInteger(port) && port >= 1 && port <= 65535) return { driver, host, port };
  const got = printable(`driver ${String(driver)}, host ${String(host)}, port ${String(port)}`);
  const expected = 'the name of a driver, a host and a port from 1 to 65535';
  throw new GenRpcError('external_source_error', `The source of nodes gave ${got} for ${node}; expected ${expected}.`);
}
