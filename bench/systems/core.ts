/** This library without Nest. */
import { createNode, type GenRpcNode } from 'nestjs-gen-rpc/core';
import type { BenchClient, BenchServer, System } from '../system.js';
import { clientOptions, SERVER_NAME, serverOptions } from './bench-nodes.js';
import { openLanes } from './lanes.js';
import type { Wire } from './wire.js';

/** As far as the library has it. */
interface Streaming {
  stream?(target: string, module: string, fn: string, args: readonly unknown[]): AsyncIterable<unknown>;
}

export function over(wire: Wire): System {
  return { serve: () => serve(wire), connect: (port) => connect(port, wire) };
}

async function serve(wire: Wire): Promise<BenchServer> {
  const node = createNode(serverOptions(wire));
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

async function connect(port: number, wire: Wire): Promise<BenchClient> {
  const node: GenRpcNode & Streaming = createNode(clientOptions(port, wire));
  const notes = (): Promise<number> => node.call(SERVER_NAME, 'math', 'notes');
  await notes();
  const client: BenchClient = {
    add: (a, b) => node.call(SERVER_NAME, 'math', 'add', [a, b]),
    note: (value) => void node.cast(SERVER_NAME, 'math', 'note', [value]),
    notes,
    echo: (bytes) => node.call(SERVER_NAME, 'math', 'echo', [bytes]),
    fetch: (size) => node.call(SERVER_NAME, 'math', 'fetch', [size]),
    connect: async (count) => {
      const another = createNode(clientOptions(port, wire));
      await openLanes(another, count);
      await another.close();
    },
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
