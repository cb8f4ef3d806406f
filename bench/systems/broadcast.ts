/** Sixteen nodes in one process, told the same by one of the ways there are. */
import { createNode, type GenRpcNode } from 'nestjs-gen-rpc/core';
import type { BenchClient, BenchServer, System } from '../system.js';
import { clientOptions, SERVER_OPTIONS } from './bench-nodes.js';

export type Way = 'calls' | 'multicall' | 'abcast' | 'sbcast';

const NODES = 16;
const NAMES = Array.from({ length: NODES }, (_, index) => `bench-${index}@127.0.0.1`);
const CONFIRM_MS = 10_000;

/** Tells `targets` `message`, once; resolves when it knows how that went. */
type Tell = (node: GenRpcNode, targets: readonly string[], message: unknown) => Promise<void>;

const WAYS: Readonly<Record<Way, Tell>> = {
  calls: async (node, targets, message) => {
    await Promise.all(targets.map((target) => node.call(target, 'board', 'note', [message])));
  },
  multicall: async (node, targets, message) => {
    none((await node.multicall(targets, 'board', 'note', [message])).badNodes);
  },
  abcast: async (node, targets, message) => none(node.abcast(targets, 'board.note', message).refused),
  sbcast: async (node, targets, message) => none((await node.sbcast(targets, 'board.note', message)).bad),
};

export function toldBy(way: Way): System {
  return { serve, connect: (port) => connect(port, way) };
}

/** The first node knows where the others are. */
async function serve(): Promise<BenchServer> {
  const nodes = NAMES.map((name) => createNode({ ...SERVER_OPTIONS, name }));
  const addresses = await Promise.all(nodes.map((node) => node.listen()));
  const ports = addresses.map((address) => address?.port ?? 0);
  for (const node of nodes) {
    let notes = 0;
    node.register('board', { note: () => (notes += 1), notes: () => notes, ports: () => ports });
  }
  const close = async (): Promise<void> => {
    await Promise.all(nodes.map((node) => node.close()));
  };
  return { port: ports[0] ?? 0, close };
}

async function connect(firstPort: number, way: Way): Promise<BenchClient> {
  let ports = [firstPort];
  const portOf = (name: string): { port: number } => ({ port: ports[NAMES.indexOf(name)] ?? firstPort });
  const node = createNode({ ...clientOptions(firstPort), nodes: portOf });
  ports = await node.call<number[]>(NAMES[0] ?? '', 'board', 'ports');
  await Promise.all(NAMES.map((name) => node.connect(name)));
  const told = new Map<string, number>();
  return {
    tell: async (count, message, times) => {
      const targets = NAMES.slice(0, count);
      await Promise.all(Array.from({ length: times }, () => WAYS[way](node, targets, message)));
      for (const target of targets) told.set(target, (told.get(target) ?? 0) + times);
      if (way === 'abcast') await Promise.all(targets.map((target) => confirm(node, target, told.get(target) ?? 0)));
    },
    close: () => node.close(),
  };
}

/** Resolves once the node's handler has run `count` times. */
async function confirm(node: GenRpcNode, target: string, count: number): Promise<void> {
  const giveUpAt = performance.now() + CONFIRM_MS;
  for (;;) {
    const seen = await node.call<number>(target, 'board', 'notes');
    if (seen >= count) return;
    if (performance.now() > giveUpAt) throw new Error(`${count - seen} messages did not arrive in ${CONFIRM_MS} ms.`);
  }
}

function none(failed: readonly string[]): void {
  if (failed.length > 0) throw new Error(`Not told: ${failed.join(', ')}.`);
}
