/** One end of a cable, in a network namespace, and what a test may do to it. Only root on Linux can. */
import { execFile, spawn } from 'node:child_process';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** Runs `ip` or `tc` with many commands at once, in a namespace or, without one, where this process is. */
export async function batch(program: 'ip' | 'tc', lines: readonly string[], namespace?: string): Promise<void> {
  const child = spawn(program, [...(namespace === undefined ? [] : ['-n', namespace]), '-batch', '-'], {
    stdio: ['pipe', 'ignore', 'pipe'],
  });
  let said = '';
  child.stderr.on('data', (text) => (said += String(text)));
  const ended = new Promise<number | null>((resolve, reject) => child.once('error', reject).once('close', resolve));
  child.stdin.end(`${lines.join('\n')}\n`);
  const status = await ended;
  if (status !== 0) throw new Error(`${program}, in ${namespace ?? 'the namespace of this process'}: ${said.trim()}`);
}

/**
 * When `loseSome` loses: for 4 ms of every 128, at another place in each of eight times 128. At the same place, a packet
 * that is sent again after 256 ms, and then after twice and four times that, would be lost each time.
 */
const LOSSES = Array.from({ length: 8 }, (_, part) => (part << 7) | (((part * 13 + 5) % 32) << 2));
const LOSSES_MASK = 0x3fc;

export class NetPort {
  /** @param name of the namespace */
  constructor(
    readonly name: string,
    readonly device: string,
  ) {}

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
   * Some TCP packets that are sent from here are lost, 3 % of the time. What is sent again has another time stamp, and so
   * another chance. It goes by that because not every kernel has netem.
   */
  loseSome(): Promise<void> {
    // Where the lower half of the time stamp is, in packets with no more options than that.
    const filters = LOSSES.flatMap((time) => {
      const stamp = (offset: number): string =>
        `match u16 0x${time.toString(16)} 0x${LOSSES_MASK.toString(16)} at ${offset}`;
      const lose = `filter add dev ${this.device} parent 1:`;
      return [
        `${lose} protocol ip prio 1 u32 match ip protocol 6 0xff ${stamp(46)} flowid 1:2`,
        `${lose} protocol ipv6 prio 2 u32 match ip6 protocol 6 0xff ${stamp(66)} flowid 1:2`,
      ];
    });
    return this.control(
      `qdisc replace dev ${this.device} root handle 1: htb default 1 r2q 100000`,
      `class add dev ${this.device} parent 1: classid 1:1 htb rate 10gbit`,
      `class add dev ${this.device} parent 1: classid 1:2 htb rate 10gbit`,
      `qdisc add dev ${this.device} parent 1:2 handle 2: blackhole`,
      ...filters,
    );
  }

  /** Packets that a queue here has sent and lost so far. */
  async packets(): Promise<{ sent: number; lost: number }> {
    const { stdout } = await run('tc', ['-n', this.name, '-s', '-j', 'qdisc', 'show', 'dev', this.device]);
    const queues = JSON.parse(stdout) as { root?: boolean; packets: number; drops: number }[];
    const root = queues.find((queue) => queue.root === true);
    return { sent: root?.packets ?? 0, lost: root?.drops ?? 0 };
  }

  /**
   * What is sent from here leaves at so many Mbit/s. The queue before that holds 30 ms of it and loses the rest: a long
   * one would make all connections wait, whatever a node does.
   */
  limitOutgoing(megabits: number): Promise<void> {
    return this.queue('replace', 'tbf', 'rate', `${megabits}mbit`, 'burst', '16kb', 'latency', '30ms');
  }

  /** As it was before one of the above. */
  freeOutgoing(): Promise<void> {
    return this.queue('del');
  }

  private set(state: 'up' | 'down'): Promise<void> {
    return batch('ip', [`link set ${this.device} ${state}`], this.name);
  }

  private queue(verb: 'replace' | 'del', ...kind: readonly string[]): Promise<void> {
    return this.control(`qdisc ${[verb, 'dev', this.device, 'root', ...kind].join(' ')}`);
  }

  private control(...lines: readonly string[]): Promise<void> {
    return batch('tc', lines, this.name);
  }
}
