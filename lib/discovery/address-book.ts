/** Where a node is, by everything that is known here: the table, the source, and what the node was started with. */
import { GenRpcError, isGenRpcError } from '../protocol/errors.js';
import { hostOf, printable } from '../protocol/node-name.js';
import { nearestName } from '../protocol/nearest-name.js';
import { checkedLocation } from './checked-record.js';
import { located, type Discovery, type Fallback, type Location, type Place } from './discovery.js';
import type { Membership } from './membership.js';

export interface AddressBookParts {
  readonly membership: Membership;
  readonly source: Pick<Discovery, 'resolve'>;
  /** Used where the source cannot tell. */
  readonly nodes: ReadonlyMap<string, Place>;
  readonly fallback: Fallback;
}

/** Names that somebody may have meant, at most: whoever misspells must not cost much. */
const MAX_SUGGESTIONS = 256;

export class AddressBook {
  constructor(private readonly parts: AddressBookParts) {}

  /** In the order to try. @throws GenRpcError (as a rejection) `external_source_error`, `invalid_argument`. */
  async resolve(node: string, signal: AbortSignal): Promise<readonly Location[]> {
    const host = hostOf(node);
    const { membership, fallback, nodes } = this.parts;
    const member = membership.get(node);
    if (member !== undefined) return member.record.locations.map((told) => located(host, fallback, told));
    try {
      return (await this.ask(node, signal)).map((told) => located(host, fallback, told));
    } catch (error) {
      const known = nodes.get(node);
      if (known === undefined) throw error;
      return [located(host, fallback, known)];
    }
  }

  /**
   * The node that was probably meant by a name that the table does not have: of nearly this name at the same host, or of
   * just this one at another.
   */
  nearest(node: string): string | undefined {
    const { membership, nodes } = this.parts;
    if (membership.get(node) !== undefined || nodes.has(node)) return undefined;
    const known = [...membership.all()].slice(0, MAX_SUGGESTIONS).map(({ record }) => record.name);
    const host = hostOf(node);
    const near = nearestName(nameOf(node), known.filter((other) => hostOf(other) === host).map(nameOf));
    return near === undefined ? known.find((other) => nameOf(other) === nameOf(node)) : `${near}@${host}`;
  }

  private async ask(node: string, signal: AbortSignal): Promise<Place[]> {
    let answer: unknown;
    try {
      answer = (await this.parts.source.resolve(node, signal)) ?? {};
      const places = Array.isArray(answer) ? answer : [answer];
      if (places.length === 0) throw new Error('it gave an empty list.');
      return places.map(checkedLocation);
    } catch (cause) {
      if (isGenRpcError(cause) && cause.code === 'external_source_error') throw cause;
      const reason = cause instanceof Error ? cause.message : printable(cause);
      throw new GenRpcError('external_source_error', `The source of nodes failed for ${node}: ${reason}`, { cause });
    }
  }
}

/** In front of the host. */
function nameOf(node: string): string {
  return node.slice(0, node.indexOf('@'));
}
