/** Three nodes that use every verb, for `verbs.spec.ts`: what they did, and what became of it. */
import type { AsyncCall } from '../../lib/node/async-call.js';
import type { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import { isGenRpcError } from '../../lib/protocol/errors.js';
import type { SeededRandom } from '../../lib/testing/seeded-random.js';
import { Cluster, type NodeSettings } from '../support/cluster.js';

export const NAMES = ['a', 'b', 'c'] as const;
const KEYS = ['red', 'green', 'blue'] as const;
const KEPT_MS = 2000;

/** One process of a node. */
export interface Life {
  readonly node: GenRpcNode;
  readonly number: number;
  over: boolean;
}

type Result = 'ok' | 'wrong value' | 'may have run' | 'did not run';

/** Something that is answered, or a cast: then `settled` says whether it was accepted. */
export interface Deed {
  readonly id: number;
  readonly verb: 'call' | 'async' | 'multi' | 'cast' | 'ordered';
  /** Of an ordered cast: caller, target and key. */
  readonly line: string;
  settled: number;
  result: Result | undefined;
}

/** Most deliveries take a few ms, and now and then one is held up for longer than a new connection takes. */
function latencyOf(random: SeededRandom): number {
  return random.fraction() < 0.02 ? 500 : 1 + random.below(20);
}

/** Three nodes, every verb, connections that break, hang, or fall idle, and processes that end and are begun again. */
export class World {
  readonly cluster: Cluster;
  readonly deeds: Deed[] = [];
  readonly runs = new Map<number, number>();
  /** Ids of ordered casts in the order they began, by line and the process that ran them. */
  readonly begun = new Map<string, number[]>();
  readonly faults: string[] = [];
  /** One deed for each node; what ran is counted under the first of them. */
  readonly multicalls: Deed[][] = [];
  readonly lives: Life[] = [];
  readonly forgotten: { call: AsyncCall; life: Life }[] = [];
  restarts = 0;
  private readonly running = new Set<string>();
  private readonly withRestarts: boolean;

  constructor(readonly seed: number) {
    this.cluster = new Cluster({ virtual: { seed, latency: latencyOf } });
    this.withRestarts = seed % 2 === 0;
  }

  get random(): SeededRandom {
    if (this.cluster.random === undefined) throw new Error('a simulation has a seed');
    return this.cluster.random;
  }

  async begin(name: string): Promise<void> {
    const options: NodeSettings = {
      callTimeout: 400,
      clientInactivityTimeout: [150, 400, Infinity][this.seed % 3] ?? Infinity,
      serverInactivityTimeout: 250,
      asyncCallInactivityTimeout: KEPT_MS,
      maxLanesPerNode: 1024,
      castLanes: this.seed % 4 < 2 ? 'shared' : 'separate',
      reconnect: { min: 20, max: 200 },
      duplicateNodes: 'newest',
    };
    const node = await this.cluster.start(name, options);
    const life: Life = { node, number: this.lives.length, over: false };
    this.lives.push(life);
    node.register('sim', {
      work: ([id, ms]: [number, number]) => this.work(id, ms),
      ordered: ([id, ms]: [number, number]) => this.inOrder(life, id, ms),
    });
  }

  async step(): Promise<void> {
    const dice = this.random.fraction();
    if (dice < 0.12) this.call();
    else if (dice < 0.24) this.asyncCall();
    else if (dice < 0.3) this.multicall();
    else if (dice < 0.38) this.casts(false, 1);
    else if (dice < 0.7) this.casts(true, 1 + this.random.below(6));
    else if (dice < 0.78) this.someLink()?.cut();
    else if (dice < 0.85) this.someLink()?.hold();
    else if (dice < 0.95) this.someLink()?.release();
    // Long enough for both ends to lose their patience.
    else if (dice < 0.975) await this.cluster.clock?.advance(this.random.below(600));
    else if (this.withRestarts) await this.restart();
  }

  releaseAll(): void {
    for (const link of this.cluster.network.links) link.release();
  }

  /** Those that serve now. */
  get living(): Life[] {
    return this.lives.filter(({ over }) => !over);
  }

  private call(): void {
    const deed = this.deed('call');
    this.follow(deed, this.pick().node.call(this.target(), 'sim', 'work', this.argsOf(deed), this.options()));
  }

  private asyncCall(): void {
    const deed = this.deed('async');
    const life = this.pick();
    const call = life.node.asyncCall(this.target(), 'sim', 'work', this.argsOf(deed), this.options());
    const dice = this.random.fraction();
    if (dice < 0.3) {
      this.forgotten.push({ call, life });
      deed.settled = 1;
    } else if (dice < 0.6) {
      this.follow(deed, call.yield());
    } else {
      // Asks now and then, for as long as it takes.
      const ask = (): Promise<unknown> =>
        call.nbYield(50).then((got) => (got === 'timeout' ? (call.taken ? 'dropped' : ask()) : got.value));
      this.follow(deed, ask());
    }
  }

  private multicall(): void {
    const targets = NAMES.map((name) => ({ node: `${name}@127.0.0.1`, key: this.key() }));
    const deeds = targets.map(() => this.deed('multi'));
    const [first] = deeds;
    if (first === undefined) return;
    this.multicalls.push(deeds);
    const run = this.pick().node.multicall<number>(targets, 'sim', 'work', this.argsOf(first), this.options());
    void run.then(({ outcomes }) => {
      if (outcomes.map(({ node }) => node).join() !== targets.map(({ node }) => node).join()) {
        this.faults.push(`multicall ${first.id}: outcomes out of order`);
      }
      const results = outcomes.map((outcome) =>
        outcome.ok ? this.judge(outcome.value, first) : resultOf(outcome.error),
      );
      deeds.forEach((deed, at) => this.settle(deed, results[at] ?? 'wrong value'));
    });
  }

  private casts(ordered: boolean, count: number): void {
    const from = this.pick();
    const target = this.target();
    for (let one = 0; one < count; one += 1) {
      const line = ordered ? `${from.number} > ${target.node} ${target.key}` : '';
      const deed = this.deed(ordered ? 'ordered' : 'cast', line);
      const fn = ordered ? 'ordered' : 'work';
      const accepted = from.node.cast(target, 'sim', fn, this.argsOf(deed), { ordered });
      deed.settled = accepted ? 1 : 0;
    }
  }

  private async restart(): Promise<void> {
    const life = this.pick();
    life.over = true;
    this.restarts += 1;
    const how = this.random.below(3);
    if (how === 0) life.node.abort();
    if (how === 1) void life.node.close();
    if (how === 2) void life.node.drain(100);
    if (this.random.fraction() < 0.5) await this.cluster.clock?.advance(this.random.below(100));
    await this.begin(life.node.name);
  }

  private deed(verb: Deed['verb'], line = ''): Deed {
    const deed: Deed = { id: this.deeds.length, verb, line, settled: 0, result: undefined };
    this.deeds.push(deed);
    return deed;
  }

  private follow(deed: Deed, reply: Promise<unknown>): void {
    reply.then(
      (value) => this.settle(deed, this.judge(value, deed)),
      (error: unknown) => this.settle(deed, resultOf(error)),
    );
  }

  private settle(deed: Deed, result: Result): void {
    deed.settled += 1;
    deed.result = result;
  }

  private judge(value: unknown, { id }: Deed): Result {
    return value === id ? 'ok' : 'wrong value';
  }

  private work(id: number, ms: number): Promise<number> {
    this.runs.set(id, (this.runs.get(id) ?? 0) + 1);
    return new Promise((resolve) => this.cluster.clock?.after(ms, () => resolve(id)));
  }

  /** One of a line at a time, in every process. */
  private inOrder(life: Life, id: number, ms: number): Promise<number> {
    const line = `${this.deeds[id]?.line} at ${life.number}`;
    if (this.running.has(line)) this.faults.push(`${id} began beside another of ${line}`);
    this.running.add(line);
    this.begun.set(line, [...(this.begun.get(line) ?? []), id]);
    return this.work(id, ms).finally(() => this.running.delete(line));
  }

  private argsOf({ id }: Deed): [number, number] {
    return [id, this.random.fraction() < 0.5 ? 0 : this.random.below(60)];
  }

  private options(): { timeout: number; waitForReady: boolean } {
    return { timeout: 50 + this.random.below(500), waitForReady: this.random.fraction() < 0.3 };
  }

  private target(): { node: string; key: string } {
    return { node: `${NAMES[this.random.below(NAMES.length)] ?? 'a'}@127.0.0.1`, key: this.key() };
  }

  private key(): string {
    return KEYS[this.random.below(KEYS.length)] ?? 'red';
  }

  private pick(): Life {
    const { living } = this;
    const life = living[this.random.below(living.length)];
    if (life === undefined) throw new Error('there are three nodes');
    return life;
  }

  private someLink() {
    const links = [...this.cluster.network.links];
    return links[this.random.below(Math.max(1, links.length))];
  }
}

function resultOf(error: unknown): Result {
  return isGenRpcError(error) && error.maybeExecuted ? 'may have run' : 'did not run';
}
