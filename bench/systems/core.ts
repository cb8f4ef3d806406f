/** This library without Nest. */
import { createNode } from 'nestjs-gen-rpc/core';
import type { BenchClient, BenchServer } from '../system.js';
import { clientOptions, SERVER_NAME, SERVER_OPTIONS } from './bench-nodes.js';

export async function serve(): Promise<BenchServer> {
  const node = createNode(SERVER_OPTIONS);
  let notes = 0;
  node.register('math', {
    add: (args) => {
      const [a, b] = args as [number, number];
      return a + b;
    },
    note: () => void (notes += 1),
    notes: () => notes,
  });
  const address = await node.listen();
  if (address === undefined) throw new Error('The node does not listen.');
  return { port: address.port, close: () => node.close() };
}

export async function connect(port: number): Promise<BenchClient> {
  const node = createNode(clientOptions(port));
  const notes = (): Promise<number> => node.call(SERVER_NAME, 'math', 'notes');
  await notes();
  return {
    add: (a, b) => node.call(SERVER_NAME, 'math', 'add', [a, b]),
    note: (value) => void node.cast(SERVER_NAME, 'math', 'note', [value]),
    notes,
    close: () => node.close(),
  };
}
