/** Two nodes and the way between them, on which a test can keep whatever is under way; over every driver. */
import { Cluster, twoNodes, type ClusterSettings, type DriverName, type TwoNodes } from './cluster.js';
import { portOf, redirect } from './door.js';
import { Proxy } from './proxy.js';

export class HeldNodes {
  private constructor(
    readonly nodes: TwoNodes,
    private readonly proxy: Proxy | undefined,
  ) {}

  /** `a` is connected to `b`. */
  static async start(driver: DriverName, settings: Omit<ClusterSettings, 'driver'> = {}): Promise<HeldNodes> {
    const nodes = await twoNodes({ driver, ...settings });
    const { name } = nodes.b;
    const proxy = driver !== 'memory' ? await Proxy.to({ port: portOf(nodes, name) }) : undefined;
    if (proxy !== undefined) redirect(nodes, name, proxy.port);
    await nodes.a.call(name, 'math', 'echo', [1]);
    return new HeldNodes(nodes, proxy);
  }

  get a(): TwoNodes['a'] {
    return this.nodes.a;
  }

  get b(): TwoNodes['b'] {
    return this.nodes.b;
  }

  /** Nothing arrives, either way, until `release`; nobody notices. */
  hold(): void {
    this.proxy?.hold();
    for (const link of this.links) link.hold();
  }

  release(): void {
    this.proxy?.release();
    for (const link of this.links) link.release();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.release();
    await this.proxy?.[Symbol.asyncDispose]();
    await this.nodes[Symbol.asyncDispose]();
  }

  private get links(): Cluster['network']['links'] {
    return this.nodes.network.links;
  }
}

/** What is under way within this process gets where it goes. */
export async function turns(count = 10): Promise<void> {
  for (let turn = 0; turn < count; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}
