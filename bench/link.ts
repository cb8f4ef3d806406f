/** A slow link of one's own: two network namespaces and a cable between them. Needs Linux, root and iproute2. */
import { execFileSync } from 'node:child_process';

/** How to start Node in a namespace, and where its system listens or connects. */
export interface Place {
  readonly program: string;
  readonly prefix: readonly string[];
  readonly host: string;
}

const RATE = '10mbit';
/** What a small router would hold, 50 ms: more waits in the systems themselves. */
const QUEUE = '64kb';
const SERVER_HOST = '10.77.0.1';
const CLIENT_HOST = '10.77.0.2';

export class SlowLink {
  private static opened = 0;

  readonly server: Place;
  readonly client: Place;
  private readonly namespaces: readonly string[];
  private readonly onExit = (): void => this.close();

  private constructor(name: string) {
    const [server, client] = [`${name}-server`, `${name}-client`];
    this.namespaces = [server, client];
    this.server = placeIn(server);
    this.client = placeIn(client);
  }

  /** @throws Error when there is no way to make one here. */
  static open(): SlowLink {
    const link = new SlowLink(`gen-rpc-bench-${process.pid}-${++SlowLink.opened}`);
    process.once('exit', link.onExit);
    try {
      link.lay();
      return link;
    } catch (error) {
      link.close();
      throw error;
    }
  }

  /** Whoever runs in it has to be gone. Safe to repeat. */
  close(): void {
    process.off('exit', this.onExit);
    for (const namespace of this.namespaces) {
      try {
        run('ip', 'netns', 'delete', namespace);
      } catch {
        // It was not made, or is gone.
      }
    }
  }

  private lay(): void {
    const [server = '', client = ''] = this.namespaces;
    for (const namespace of this.namespaces) run('ip', 'netns', 'add', namespace);
    run(...words(`ip link add wire netns ${server} type veth peer name wire netns ${client}`));
    for (const [namespace, host] of [
      [server, SERVER_HOST],
      [client, CLIENT_HOST],
    ]) {
      run(...words(`ip -n ${namespace} address add ${host}/24 dev wire`));
      run(...words(`ip -n ${namespace} link set wire up`));
      run(...words(`ip -n ${namespace} link set lo up`));
      run(...words(`tc -n ${namespace} qdisc add dev wire root tbf rate ${RATE} burst 16kb limit ${QUEUE}`));
    }
  }
}

/** Why there can be no slow link here; `undefined`: there can. */
export function linkProblem(): string | undefined {
  try {
    SlowLink.open().close();
    return undefined;
  } catch (error) {
    const [reason] = (error as Error).message.split('\n').slice(-2);
    return `needs Linux, root, and \`ip\` and \`tc\` of iproute2 (${reason})`;
  }
}

function placeIn(namespace: string): Place {
  return { program: 'ip', prefix: ['netns', 'exec', namespace, process.execPath], host: SERVER_HOST };
}

function words(command: string): [string, ...string[]] {
  return command.split(' ') as [string, ...string[]];
}

function run(program: string, ...args: string[]): void {
  execFileSync(program, args, { stdio: 'pipe' });
}
