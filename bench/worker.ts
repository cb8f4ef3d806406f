/** One process of a system: its server or its client. Does what the harness asks, one thing after another. */
import { pick, SYSTEMS, WORKLOADS } from './catalog.js';
import type { BenchClient, Operations } from './system.js';
import type { Load } from './workload.js';

/** What the harness may ask. The first answer comes unasked, once the process is ready: a server's is its port. */
export type Command =
  | { readonly name: 'supports'; readonly workload: string }
  | { readonly name: 'mark' }
  | { readonly name: 'run'; readonly workload: string; readonly load: Load }
  | { readonly name: 'cpu' }
  | { readonly name: 'end' };

export type Answer = { readonly value: unknown } | { readonly error: string };

/** What one round took, as its client saw it. */
export interface Run {
  readonly operations: number;
  readonly seconds: number;
}

/** The answers that only one of the roles can give. */
interface Role {
  readonly ready: unknown;
  supports(workload: string): boolean;
  run(workload: string, load: Load): Promise<Run>;
  close(): Promise<void> | void;
}

const [roleName, systemName = '', port] = process.argv.slice(2);

async function start(): Promise<Role> {
  const system = await pick(SYSTEMS, systemName)();
  if (roleName === 'client') return clientRole(await system.connect(Number(port)));
  const server = await system.serve();
  const refuse = (): never => {
    throw new Error('A server runs no workload.');
  };
  return { ready: server.port, supports: refuse, run: refuse, close: () => server.close() };
}

function clientRole(client: BenchClient): Role {
  return {
    ready: undefined,
    supports: (name) => pick(WORKLOADS, name).needs.every((operation) => client[operation] !== undefined),
    run: async (name, load) => {
      const workload = pick(WORKLOADS, name);
      const startedAt = performance.now();
      const operations = await workload.run(client as Operations, load);
      return { operations, seconds: (performance.now() - startedAt) / 1000 };
    },
    close: () => client.close(),
  };
}

function reply(answer: Answer, sent?: () => void): void {
  process.send?.(answer, undefined, {}, sent);
}

function fail(error: unknown): void {
  reply({ error: error instanceof Error ? (error.stack ?? error.message) : String(error) }, () => process.exit(1));
}

/** Answers until it is told to end, or the harness is gone. */
function obey(role: Role): void {
  let marked = process.cpuUsage();
  const answers: { [Name in Command['name']]: (command: Extract<Command, { name: Name }>) => unknown } = {
    supports: ({ workload }) => role.supports(workload),
    mark: () => {
      globalThis.gc?.();
      marked = process.cpuUsage();
    },
    run: ({ workload, load }) => role.run(workload, load),
    cpu: () => {
      const { user, system } = process.cpuUsage(marked);
      return user + system;
    },
    end: () => role.close(),
  };
  process.on('message', (command: Command) => {
    const answer = answers[command.name] as (command: Command) => unknown;
    const done = command.name === 'end' ? (): never => process.exit(0) : undefined;
    Promise.resolve(command)
      .then(answer)
      .then((value) => reply({ value }, done), fail);
  });
  reply({ value: role.ready });
}

process.on('disconnect', () => process.exit(1));
process.on('uncaughtException', fail);
start().then(obey, fail);
