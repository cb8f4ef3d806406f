/** One process of a system: its server or its client. Does what the harness asks, one thing after another. */
import './application-heap.js';
import { pick, SYSTEMS, WORKLOADS } from './catalog.js';
import type { BenchClient, Helper, Operations } from './system.js';
import type { Answer, Command, Run } from './worker-messages.js';
import type { Case, Load } from './workload.js';

/** The answers that only one of the roles can give. */
interface Role {
  readonly ready: unknown;
  readonly helpers: readonly Helper[];
  supports(workload: string): boolean;
  run(workload: string, its: Case, load: Load): Promise<Run>;
  close(): Promise<void> | void;
}

const [roleName, systemName = '', detail] = process.argv.slice(2);

async function start(): Promise<Role> {
  const system = await pick(SYSTEMS, systemName)();
  if (roleName === 'client') return clientRole(await system.connect(Number(detail)));
  const server = await system.serve(detail);
  const refuse = (): never => {
    throw new Error('A server runs no workload.');
  };
  const { port: ready, helpers = [] } = server;
  return { ready, helpers, supports: refuse, run: refuse, close: () => server.close() };
}

function clientRole(client: BenchClient): Role {
  return {
    ready: undefined,
    helpers: [],
    supports: (name) => pick(WORKLOADS, name).needs.every((operation) => client[operation] !== undefined),
    run: async (name, its, load) => {
      const workload = pick(WORKLOADS, name);
      const startedAt = performance.now();
      const outcome = await workload.run(client as Operations, load, its);
      return { ...outcome, seconds: (performance.now() - startedAt) / 1000 };
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
  const help = (name: 'mark' | 'cpu'): Promise<unknown[]> =>
    Promise.all(role.helpers.map((helper) => helper.ask({ name })));
  const answers: { [Name in Command['name']]: (command: Extract<Command, { name: Name }>) => unknown } = {
    supports: ({ workload }) => role.supports(workload),
    mark: async () => {
      await help('mark');
      globalThis.gc?.();
      marked = process.cpuUsage();
    },
    run: ({ workload, its, load }) => role.run(workload, its, load),
    cpu: async () => {
      const { user, system } = process.cpuUsage(marked);
      const helped = (await help('cpu')) as number[];
      return helped.reduce((sum, micros) => sum + micros, user + system);
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
