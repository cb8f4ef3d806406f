/** Where the nodes of a test cluster live: one network in memory, one clock, one source of chance, one secret. */
import { MemoryNetwork } from '../driver/memory.driver.js';
import { systemClock } from '../system/system.js';
import { nestLog } from '../nest/gen-rpc.log.js';
import { MAX_TIMER_MS, type Timer } from '../ports/clock.js';
import { createNode } from '../node/create-node.js';
import type { GenRpcNode } from '../node/gen-rpc-node.js';
import type { GenRpcOptions } from '../node/options.js';
import { SeededRandom } from './seeded-random.js';
import { TestRegistry } from './test-registry.js';
import { VirtualClock } from './virtual-clock.js';

const DRIVER = 'memory';
const PORT = 5369;

/** Turns of the loop in which work may end by itself, before time is made to pass for it. */
const PATIENT_TURNS = 20;
const STEP_MS = 10;

export class TestWorld {
  readonly network: MemoryNetwork;
  readonly registry = new TestRegistry((node) => ({ driver: DRIVER, host: hostOf(node), port: PORT }));
  readonly virtualClock: VirtualClock | undefined;
  private readonly random: SeededRandom;
  private readonly secret: string;
  /** Calls in memory keep no process alive, and a test may have nothing else to wait for. */
  private readonly keepingAlive: Timer | undefined;

  constructor(clock: 'system' | 'virtual', seed: number) {
    this.virtualClock = clock === 'virtual' ? new VirtualClock() : undefined;
    this.keepingAlive = clock === 'system' ? systemClock.after(MAX_TIMER_MS, () => {}, true) : undefined;
    this.network = new MemoryNetwork(this.virtualClock ?? systemClock);
    this.random = new SeededRandom(seed);
    this.secret = Buffer.from(this.random.bytes(32)).toString('hex');
  }

  /**
   * A node by these options, except for what ties it to real surroundings: where it is, where others are, and by what
   * they trust each other.
   * @param home the node on whose host it is
   */
  createNode(home: string, given: Omit<GenRpcOptions, 'secret'>): GenRpcNode {
    const { tls: _, nodes: __, clientPort: ___, listen, advertise, membership, ...options } = given;
    const host = hostOf(home);
    return createNode(
      {
        ...options,
        ...{ secret: this.secret, driver: DRIVER },
        listen: listen === false ? false : { host, port: PORT, allowPlaintext: true },
        discovery: this.registry.discovery(),
        advertise: advertise === false ? false : { ...advertise, host, port: PORT },
        membership: { required: membership?.required ?? false },
        // A machine that is busy with other tests must not have calls refused.
        concurrency: { loopDelay: Infinity, ...options.concurrency },
      },
      {
        clock: this.network.clock,
        ...{ random: this.random, log: nestLog },
        drivers: [this.network.driver(host, DRIVER)],
      },
      'createTestCluster()',
    );
  }

  /** Nothing of it keeps the process alive any more. */
  end(): void {
    this.keepingAlive?.cancel();
  }

  /**
   * Resolves as `work` does, which must be that of nodes alone: virtual time passes only as far as they need it, and so
   * as far every time.
   */
  async waitFor(work: Promise<unknown>): Promise<void> {
    const { virtualClock } = this;
    let ended = virtualClock === undefined;
    const end = (): void => void (ended = true);
    work.then(end, end);
    for (let turn = 0; !ended; turn += 1) await virtualClock?.advance(turn < PATIENT_TURNS ? 0 : STEP_MS);
    await work;
    // Whoever is to hear of it at once has.
    await new Promise<void>((resolve) => this.network.clock.soon(resolve));
  }
}

/** The host of a node in the network: everyone has one of their own. */
export function hostOf(node: string): string {
  return node.replace('@', '.');
}
