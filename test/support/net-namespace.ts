/** Real networks that a test may break: two network namespaces with a cable between them, which only root on Linux has. */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { describe, it } from 'vitest';
import { batch, NetPort } from './net-port.js';

/** What the one cable of a namespace is called in it. */
export const INTERFACE = 'wire0';

/** A machine of its own, as far as the network goes, at the end of a cable. */
export class NetNamespace extends NetPort {
  constructor(
    name: string,
    readonly address: string,
    private readonly mac: string,
  ) {
    super(name, INTERFACE);
  }

  /** Makes both ends of a cable, each in a namespace of its own. */
  static async connect(near: NetNamespace, far: NetNamespace): Promise<void> {
    const peer = `peer name ${INTERFACE} address ${far.mac} netns ${far.name}`;
    await batch('ip', [
      ...[near, far].map(({ name }) => `netns add ${name}`),
      `link add ${INTERFACE} address ${near.mac} netns ${near.name} type veth ${peer}`,
    ]);
    await Promise.all([near, far].map((end) => end.start()));
    await Promise.all([near.knows(far), far.knows(near)]);
  }

  remove(): Promise<void> {
    return removeNamespace(this.name);
  }

  private start(): Promise<void> {
    const lines = [`address add ${this.address}/24 dev ${INTERFACE}`, 'link set lo up', `link set ${INTERFACE} up`];
    return batch('ip', lines, this.name);
  }

  /** For good: else a one-way break would become one of both ways, as soon as nobody answers who has which address. */
  private knows({ address, mac }: NetNamespace): Promise<void> {
    return batch('ip', [`neigh replace ${address} lladdr ${mac} dev ${INTERFACE} nud permanent`], this.name);
  }
}

export async function removeNamespace(name: string): Promise<void> {
  await batch('ip', [`netns del ${name}`]).catch(() => {});
}

let made = 0;

/** The beginning of the names of namespaces that belong together. */
export function nextNamespaces(): string {
  if (made === 0) {
    // A run that is broken off ends its processes, and they dispose of nothing.
    process.once('exit', () => sweep((owner) => owner === process.pid));
    process.once('SIGINT', () => process.exit(1));
  }
  return `genrpc-${process.pid}-${(made += 1)}`;
}

/**
 * Removes what processes have left behind that are no more, and names it: one whose test hangs is killed, and disposes
 * of nothing. Whatever still runs there is killed.
 */
export function sweep(isLeft: (owner: number) => boolean = isGone): string[] {
  const { stdout } = spawnSync('ip', ['netns', 'list'], { encoding: 'utf8' });
  const all = [...(stdout ?? '').matchAll(/^genrpc-(\d+)-\S+/gm)];
  const left = all.filter(([, owner]) => isLeft(Number(owner))).map(([name]) => name);
  for (const name of left) {
    const pids = spawnSync('ip', ['netns', 'pids', name], { encoding: 'utf8' }).stdout.split('\n');
    for (const pid of pids) if (pid !== '') end(Number(pid));
    spawnSync('ip', ['netns', 'del', name]);
  }
  return left;
}

function isGone(pid: number): boolean {
  return !existsSync(`/proc/${pid}`);
}

function end(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended meanwhile.
  }
}

/** A cable between two namespaces. Everything of it is gone once it is disposed. */
export class Link {
  readonly near: NetNamespace;
  readonly far: NetNamespace;

  private constructor() {
    const name = nextNamespaces();
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
function lacking(also: readonly string[]): Lack | undefined {
  if (process.platform !== 'linux') return { why: `${process.platform} has no network namespaces`, forbidden: true };
  for (const program of ['ip', 'tc']) {
    const { error } = spawnSync(program, ['-V']);
    if (error !== undefined) return { why: `there is no ${program} (package iproute2)`, forbidden: false };
  }
  if (process.getuid?.() !== 0) return { why: 'only root may make network namespaces', forbidden: false };
  return refusalOfKernel(also);
}

/** Tries everything once that the tests will do. */
function refusalOfKernel(also: readonly string[]): Lack | undefined {
  sweep();
  const name = `genrpc-${process.pid}-probe`;
  const steps = [
    `ip netns add ${name}`,
    `ip link add ${INTERFACE} netns ${name} type veth peer name other netns ${name}`,
    `tc -n ${name} qdisc replace dev ${INTERFACE} root tbf rate 10mbit burst 16kb latency 30ms`,
    `tc -n ${name} qdisc replace dev ${INTERFACE} root blackhole`,
    `ip netns exec ${name} true`,
    ...also.map((step) => step.replace('NAMESPACE', name)),
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

const HOW = 'They run as root, on Linux with iproute2.';

/**
 * As `describe`, for tests that make a `Link` or a `Lan`. Where that cannot be done, they are skipped with a line about
 * it. With `GEN_RPC_NETWORKS=required` that is a failure, unless it is the kernel that forbids it.
 *
 * @param also commands that must work in a NAMESPACE with the interface `wire0`, beside what a `Link` needs
 */
export function describeOnNetworks(title: string, tests: () => void, also: readonly string[] = []): void {
  const lack = lacking(also);
  if (lack === undefined) {
    describe(title, tests);
    return;
  }
  process.stderr.write(`\n*** NOT RUN: ${title}. These tests make networks of their own, but ${lack.why}. ${HOW}\n`);
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
