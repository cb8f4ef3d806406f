/** This library without Nest. */
import { createNode, type GenRpcNode } from 'nestjs-gen-rpc/core';
import type { BenchClient, BenchServer } from '../system.js';
import { clientOptions, SERVER_NAME, SERVER_OPTIONS } from './bench-nodes.js';

/** As far as the library has it. */
interface Streaming {
  stream?(target: string, module: string, fn: string, args: readonly unknown[]): AsyncIterable<unknown>;
}

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
    count: (args) => numbersTo(args[0] as number),
    echo: (args) => args[0],
    fetch: (args) => Buffer.alloc(args[0] as number, 1),
  });
  const address = await node.listen();
  if (address === undefined) throw new Error('The node does not listen.');
  return { port: address.port, close: () => node.close() };
}

export async function connect(port: number): Promise<BenchClient> {
  const node: GenRpcNode & Streaming = createNode(clientOptions(port));
  const notes = (): Promise<number> => node.call(SERVER_NAME, 'math', 'notes');
  await notes();
  const client: BenchClient = {
    add: (a, b) => node.call(SERVER_NAME, 'math', 'add', [a, b]),
    note: (value) => void node.cast(SERVER_NAME, 'math', 'note', [value]),
    notes,
    echo: (bytes) => node.call(SERVER_NAME, 'math', 'echo', [bytes]),
    fetch: (size) => node.call(SERVER_NAME, 'math', 'fetch', [size]),
    close: () => node.close(),
  };
  return node.stream === undefined ? client : { ...client, count: (items) => count(node, items) };
}

async function* numbersTo(items: number): AsyncIterable<{ n: number }> {
  for (let n = 1; n <= items; n++) yield { n };
}

async function count(node: Streaming, items: number): Promise<number> {
  let sum = 0;
  for await (const item of node.stream?.(SERVER_NAME, 'math', 'count', [items]) ?? []) sum += (item as { n: number }).n;
  return sum;
}
