import { expect, test } from '@jest/globals';
import { GenRpcModule } from 'nestjs-gen-rpc';
import { createTestCluster } from 'nestjs-gen-rpc/testing';
import { addAcrossNodes, Calculator, MathModule, webModule } from './app.js';
import { BEHAVIOURS } from './behaviours.js';

/** Jest turns modules into others while it runs them. */
const TIMEOUT = 60_000;

test(
  'N-75 a call passes from one Nest app to another',
  async () => {
    expect(await addAcrossNodes(1, 2)).toBe(3);
  },
  TIMEOUT,
);

test(
  'a call passes through a cluster in memory, and time when it is told to',
  async () => {
    const real = { name: 'math@10.0.0.1', secret: 'the same words on both sides' };
    const math = { module: MathModule, imports: [GenRpcModule.forRoot(real)] };
    const web = webModule({ target: 'math@test', secret: real.secret });
    const cluster = await createTestCluster({ nodes: { math, web }, clock: 'virtual' });
    expect(await cluster.get('web', Calculator).add(1, 2)).toBe(3);
    cluster.delay('web', 'math', 100);
    const sum = cluster.get('web', Calculator).add(2, 3);
    await cluster.clock.advance(200);
    expect(await sum).toBe(5);
    await cluster.close();
  },
  TIMEOUT,
);

const run = async (name: string): Promise<void> => BEHAVIOURS.get(name)?.();
test.each([...BEHAVIOURS.keys()])('N-75 with this version of Nest: %s', run, TIMEOUT);
