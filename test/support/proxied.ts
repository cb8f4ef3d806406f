/** Two nodes with a proxy between them, and a third that reaches the called one directly and must not notice anything. */
import { expect } from 'vitest';
import { twoNodes, type NodeSettings, type SocketDriver, type TwoNodes } from './cluster.js';
import { portOf, redirect } from './door.js';
import { Proxy, type ProxySettings } from './proxy.js';

export class Proxied {
  private constructor(
    readonly nodes: TwoNodes,
    readonly proxy: Proxy,
    private readonly port: number,
    private readonly healthy: TwoNodes['a'],
  ) {}

  /** @param options of both nodes; those of the third are the defaults. */
  static async start(driver: SocketDriver, options: NodeSettings, settings: ProxySettings = {}): Promise<Proxied> {
    const nodes = await twoNodes({ driver, options });
    const port = portOf(nodes, nodes.b.name);
    const healthy = nodes.create('healthy', { listen: false });
    await healthy.connect(nodes.b.name);
    const proxy = await Proxy.to({ port }, settings);
    redirect(nodes, nodes.b.name, proxy.port);
    return new Proxied(nodes, proxy, port, healthy);
  }

  /** The next dial does not meet the proxy. */
  mend(): void {
    redirect(this.nodes, this.nodes.b.name, this.port);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { nodes, proxy, healthy } = this;
    await proxy[Symbol.asyncDispose]();
    await expect(healthy.call(nodes.b.name, 'math', 'add', [1, 2])).resolves.toBe(3);
    expect(healthy.stats().counts).toEqual({ dialled: 1, connected: 1 });
    await nodes[Symbol.asyncDispose]();
  }
}
