/** A hundred nodes in one process, of which one is chosen. */
import { createNode, type Target } from 'nestjs-gen-rpc/core';
import { HOST } from '../host.js';
import type { BenchClient, BenchServer, System } from '../system.js';
import { clientOptions, SERVER_OPTIONS } from './bench-nodes.js';

export type Choice = 'by-load' | 'by-weight' | 'by-key' | 'by-weight-and-key';

const NODES = 100;
const NAMES = Array.from({ length: NODES }, (_, index) => `bench-${index}@127.0.0.1`);

export function chosenBy(choice: Choice): System {
  return { serve, connect: (port) => connect(port, choice) };
}

/** The first node knows where the others are. */
async function serve(): Promise<BenchServer> {
  const nodes = NAMES.map((name) => createNode({ ...SERVER_OPTIONS, name }));
  const addresses = await Promise.all(nodes.map((node) => node.listen()));
  const ports = addresses.map((address) => address?.port ?? 0);
  for (const node of nodes) {
    node.register('math', { ports: () => ports });
  }
  const close = async (): Promise<void> => {
    await Promise.all(nodes.map((node) => node.close()));
  };
  return { port: ports[0] ?? 0, close };
}

async function connect(firstPort: number, choice: Choice): Promise<BenchClient> {
  const first = NAMES[0] ?? '';
  const asking = createNode({ ...clientOptions(firstPort), nodes: { [first]: { host: HOST, port: firstPort } } });
  const ports = await asking.call<number[]>(first, 'math', 'ports');
  await asking.close();
  const weightOf = (at: number): number => (choice.startsWith('by-weight') ? 1 + (at % 3) : 1);
  const nodes = Object.fromEntries(
    NAMES.map((name, at) => [name, { host: HOST, port: ports[at] ?? 0, modules: ['math'], weight: weightOf(at) }]),
  );
  const node = createNode({ ...clientOptions(firstPort), nodes });
  await Promise.all(NAMES.map((name) => node.connect(name)));
  const target = (turn: number): Target =>
    choice.endsWith('key') ? { module: 'math', key: turn } : { module: 'math' };
  const choose = (times: number): void => {
    for (let turn = 0; turn < times; turn += 1) {
      if (node.choose(target(turn)) === undefined) throw new Error('Nobody was chosen.');
    }
  };
  return { choose, close: () => node.close() };
}
