/** A source of the user's own: asked for every node that is dialled. (gen_rpc: `{external, Module}`) */
import type { Discovery, Place } from './discovery.js';

export class ExternalDiscovery implements Discovery {
  /** @param locate answers with what differs from the default, or throws */
  constructor(private readonly locate: (node: string) => Place | Promise<Place>) {}

  async resolve(node: string): Promise<Place> {
    return this.locate(node);
  }
}
