/** Nodes that are written down; everyone else is at the host of its name, on the configured port. */
import { hostOf } from '../protocol/node-name.js';
import { located, type Discovery, type Fallback, type Location } from './discovery.js';

export class StaticDiscovery implements Discovery {
  /**
   * @param nodes what differs from the default, by node name (gen_rpc: `client_config_per_node`)
   * @param fallback driver and port of nodes that are not written down (gen_rpc: `tcp_client_port`, 5369)
   */
  constructor(
    private readonly nodes: ReadonlyMap<string, Partial<Location>>,
    private readonly fallback: Fallback,
  ) {}

  async resolve(node: string): Promise<Location> {
    return located(hostOf(node), this.fallback, this.nodes.get(node));
  }
}
