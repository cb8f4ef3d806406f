/** Crowds of strangers who connect, say hardly anything, and never let go by themselves. */
import { spawnSync } from 'node:child_process';
import { connect, type Socket } from 'node:net';

/** `GEN_RPC_SOAK=1` sends as many strangers as the fault list asks for. */
const WANTED = process.env['GEN_RPC_SOAK'] === '1' ? 10_000 : 2_000;
/** They come in groups. */
const AT_ONCE = 100;
/** Descriptors that are not for strangers: those of the tests, and of the node's ends of a group. */
const KEPT_BACK = 300;
/** Where they come from. */
export const ATTACKER = '127.0.0.66';

/** How many strangers this process may have. */
export function strangersPossible(): number {
  const limit = Number(spawnSync('sh', ['-c', 'ulimit -n'], { encoding: 'utf8' }).stdout);
  const possible = Math.min(WANTED, Math.floor((limit - KEPT_BACK) / AT_ONCE) * AT_ONCE) || WANTED;
  if (possible < WANTED) {
    process.stderr.write(
      `\n*** S-12 with ${possible} strangers instead of ${WANTED}: the limit of open files is ${limit}.\n`,
    );
  }
  return possible;
}

/** One who connects and says nothing, and never lets go by itself. */
export class Mute {
  private constructor(
    private readonly socket: Socket,
    private readonly gone: Promise<void>,
  ) {}

  /** @param first what it says, if anything */
  static connect(port: number, first?: Buffer): Promise<Mute> {
    const socket = connect({ port, host: '127.0.0.1', localAddress: ATTACKER, allowHalfOpen: true });
    const gone = new Promise<void>((resolve) => socket.once('close', () => resolve()));
    socket.on('error', () => {});
    socket.resume();
    // One who is sent away is heard of as an end or a reset: then it is over for the server.
    socket.once('end', () => socket.destroy());
    const mute = new Mute(socket, gone);
    return new Promise((resolve) => {
      socket.once('connect', () => {
        if (first !== undefined) socket.write(first);
        resolve(mute);
      });
      socket.once('close', () => resolve(mute));
    });
  }

  /** Resolves once the server has let go of it. */
  over(): Promise<void> {
    return this.gone;
  }

  destroy(): void {
    this.socket.destroy();
  }
}

/** All of them at the door, one group after the other. */
export async function crowd(
  port: number,
  size: number,
  first?: (index: number) => Buffer | undefined,
): Promise<Mute[]> {
  const mutes: Mute[] = [];
  for (let from = 0; from < size; from += AT_ONCE) {
    const group = Array.from({ length: AT_ONCE }, (_, index) => Mute.connect(port, first?.(from + index)));
    mutes.push(...(await Promise.all(group)));
  }
  return mutes;
}
