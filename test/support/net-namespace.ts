/** Real networks that a test may break: two network namespaces with a cable between them, which only root on Linux has. */
import { execFile, execFileSync, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { promisify } from 'node:util';
import { describe, it } from 'vitest';

const run = promisify(execFile);
const INTERFACE = 'wire0';

async function ip(...args: readonly string[]): Promise<void> {
  await run('ip', args);
}

/** A machine of its own, as far as the network goes, at the end of a cable. */
export class NetNamespace {
  constructor(
    readonly name: string,
    readonly address: string,
    private readonly mac: string,
  ) {}

  /** Makes both ends of a cable, each in a namespace of its own. */
  static async connect(near: NetNamespace, far: NetNamespace): Promise<void> {
    await Promise.all([near, far].map(({ name }) => ip('netns', 'add', name)));
    const peer = ['peer', 'name', INTERFACE, 'address', far.mac, 'netns', far.name];
    await ip('link', 'add', INTERFACE, 'address', near.mac, 'netns', near.name, 'type', 'veth', ...peer);
    await Promise.all([near, far].map((end) => end.start()));
    await Promise.all([near.knows(far), far.knows(near)]);
  }

  /** The cable is unplugged here. The other end sees that it has no carrier, and nothing more. */
  down(): Promise<void> {
    return this.set('down');
  }

  up(): Promise<void> {
    return this.set('up');
  }

  /** What is sent from here is lost, and nobody is told; what is sent to here arrives. */
  loseOutgoing(): Promise<void> {
    return this.queue('replace', 'blackhole');
  }

  /**
   * What is sent from here leaves at so many Mbit/s. The queue before that holds 30 ms of it and loses the rest: a long
   * one would make all connections wait, whatever a node does.
   */
  limitOutgoing(megabits: number): Promise<void> {
    return this.queue('replace', 'tbf', 'rate', `${megabits}mbit`, 'burst', '16kb', 'latency', '30ms');
  }

  /** As it was before `loseOutgoing` or `limitOutgoing`. */
  freeOutgoing(): Promise<void> {
    return this.queue('del');
  }

  async remove(): Promise<void> {
    await ip('netns', 'del', this.name).catch(() => {});
  }

  private async start(): Promise<void> {
    await ip('-n', this.name, 'address', 'add', `${this.address}/24`, 'dev', INTERFACE);
    await ip('-n', this.name, 'link', 'set', 'lo', 'up');
    await this.up();
  }

  /** For good: else a one-way break would become one of both ways, as soon as nobody answers who has which address. */
  private knows({ address, mac }: NetNamespace): Promise<void> {
    return ip('-n', this.name, 'neigh', 'replace', address, 'lladdr', mac, 'dev', INTERFACE, 'nud', 'permanent');
  }

  private set(state: 'up' | 'down'): Promise<void> {
    return ip('-n', this.name, 'link', 'set', INTERFACE, state);
  }

  private async queue(verb: 'replace' | 'del', ...kind: readonly string[]): Promise<void> {
    await run('tc', ['-n', this.name, 'qdisc', verb, 'dev', INTERFACE, 'root', ...kind]);
  }
}

let made = 0;

/** Removes what processes have left behind that are no more: one whose test hangs is killed, and disposes of nothing. */
function sweep(): void {
  const { stdout } = spawnSync('ip', ['netns', 'list'], { encoding: 'utf8' });
  for (const [name, pid] of stdout.matchAll(/^genrpc-(\d+)-\S+/gm)) {
    if (!existsSync(`/proc/${pid}`)) spawnSync('ip', ['netns', 'del', name]);
  }
}

/** A cable between two namespaces. Everything of it is gone once it is disposed. */
export class Link {
  readonly near: NetNamespace;
  readonly far: NetNamespace;

  private constructor() {
    const name = `genrpc-${process.pid}-${(made += 1)}`;
    this.near = new NetNamespace(`${name}-near`, '10.77.0.1', '02:00:00:00:00:01');
    this.far = new NetNamespace(`${name}-far`, '10.77.0.2', '02:00:00:00:00:02');
  }

  static async create(): Promise<Link> {
    const link = new Link();
    try {
      await NetNamespace.connect(link.near, link.far);
    } catch (error) {
      await link[Symbol.asyncDispose]();
      throw error;
    }
    return link;
  }

  get ends(): readonly NetNamespace[] {
    return [this.near, this.far];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const end of this.ends) await end.remove();
  }
}

interface Lack {
  readonly why: string;
  /** Not for want of a program or of rights that a CI could have. */
  readonly forbidden: boolean;
}

/** What keeps this machine from having such networks, if anything does. */
function lacking(): Lack | undefined {
  if (process.platform !== 'linux') return { why: `${process.platform} has no network namespaces`, forbidden: true };
  for (const program of ['ip', 'tc']) {
    const { error } = spawnSync(program, ['-V']);
    if (error !== undefined) return { why: `there is no ${program} (package iproute2)`, forbidden: false };
  }
  if (process.getuid?.() !== 0) return { why: 'only root may make network namespaces', forbidden: false };
  return refusalOfKernel();
}

/** Tries everything once that the tests will do. */
function refusalOfKernel(): Lack | undefined {
  sweep();
  const name = `genrpc-${process.pid}-probe`;
  const steps = [
    `ip netns add ${name}`,
    `ip link add ${INTERFACE} netns ${name} type veth peer name other netns ${name}`,
    `tc -n ${name} qdisc replace dev ${INTERFACE} root tbf rate 10mbit burst 16kb latency 30ms`,
    `tc -n ${name} qdisc replace dev ${INTERFACE} root blackhole`,
    `ip netns exec ${name} true`,
  ];
  try {
    for (const step of steps) {
      const [program = '', ...args] = step.split(' ');
      execFileSync(program, args, { stdio: ['ignore', 'ignore', 'pipe'] });
    }
    return undefined;
  } catch (error) {
    const { stderr, message } = error as Error & { stderr?: Buffer };
    const why = stderr?.toString().trim() || message;
    return { why, forbidden: /not permitted|not supported|permission denied|unknown|read-only/i.test(why) };
  } finally {
    spawnSync('ip', ['netns', 'del', name]);
  }
}

const lack = lacking();

/**
 * As `describe`, for tests that make a `Link`. Where that cannot be done, they are skipped with a line about it. With
 * `GEN_RPC_NETWORKS=required` that is a failure, unless it is the kernel that forbids it.
 */
export function describeOnNetworks(title: string, tests: () => void): void {
  if (lack === undefined) {
    describe(title, tests);
    return;
  }
  process.stderr.write(`\n*** NOT RUN: ${title}. These tests make networks of their own, but ${lack.why}.\n`);
  if (process.env['GEN_RPC_NETWORKS'] !== 'required' || lack.forbidden) {
    describe.skip(`${title} (NOT RUN HERE: ${lack.why})`, tests);
    return;
  }
  describe(title, () => {
    it('can make networks of its own', () => {
      throw new Error(`These tests have to run here, but ${lack.why}.`);
    });
  });
}
