/** A node that one process serves, called over connections of their own by several keys. */
import { createNode, type Target } from 'nestjs-gen-rpc/core';
import { spin } from '../spin.js';
import type { BenchClient, BenchServer } from '../system.js';
import { clientOptions, SERVER_OPTIONS } from './bench-nodes.js';
import { openLanes } from './lanes.js';

/** @param life of a node that other processes serve, too */
export async function serve(life?: string): Promise<BenchServer> {
  const node = createNode(life === undefined ? SERVER_OPTIONS : { ...SERVER_OPTIONS, life });
  node.register('math', {
    add: (args) => {
      const [a, b] = args as [number, number];
      return a + b;
    },
    spin: (args) => spin(args[0] as number),
  });
  const address = await node.listen();
  if (address === undefined) throw new Error('The node does not listen.');
  return { port: address.port, close: () => node.close() };
}

export async function connect(port: number): Promise<BenchClient> {
  const node = createNode(clientOptions(port));
  const targets: Target[] = [];
  const open = async (count: number): Promise<void> =>
    void targets.push(...(await openLanes(node, count - targets.length)));
  const targetAt = (connection: number): Target => {
    const target = targets[connection];
    if (target === undefined) throw new Error(`Connection ${connection} was not opened.`);
    return target;
  };
  await open(1);
  return {
    open,
    addOver: (connection, a, b) => node.call(targetAt(connection), 'math', 'add', [a, b]),
    spinOver: (connection, rounds) => node.call(targetAt(connection), 'math', 'spin', [rounds]),
    close: () => node.close(),
  };
}
