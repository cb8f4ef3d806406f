import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { Cluster, SECRET } from '../support/cluster.js';
import { until } from '../support/door.js';

const run = promisify(execFile);
const root = join(import.meta.dirname, '../..');

/** Runs a script that has a node named `rpc`, which only calls, and knows `b` at `port`; it must end by itself. */
async function script(port: number, body: string): Promise<string> {
  const options = { name: 'a@127.0.0.1', secret: SECRET, listen: false, nodes: { 'b@127.0.0.1': { port } } };
  const code = `
    import { createNode } from 'nestjs-gen-rpc/core';
    const rpc = createNode(${JSON.stringify(options)});
    const call = (...rest) => rpc.call('b@127.0.0.1', 'math', 'add', [1, 2], ...rest);
    ${body}`;
  const { stdout } = await run(process.execPath, ['--input-type=module', '--eval', code], {
    cwd: root,
    timeout: 10_000,
  });
  return stdout.trim();
}

describe('a process with nothing else to do', () => {
  it('ends by itself behind its last call, though its connection is open', async () => {
    await using cluster = new Cluster();
    const b = await cluster.start('b');
    b.register('math', { add: ([x, y]: [number, number]) => x + y });
    const { port } = cluster.discovery.locations.get(b.name) ?? { port: 0 };
    await expect(script(port, 'console.log(await call());')).resolves.toBe('3');
  });

  it('lives as long as a call is pending', async () => {
    await using cluster = new Cluster();
    const b = await cluster.start('b');
    b.register('math', { add: () => new Promise((resolve) => setTimeout(() => resolve('late'), 300)) });
    const { port } = cluster.discovery.locations.get(b.name) ?? { port: 0 };
    await expect(script(port, 'console.log(await call());')).resolves.toBe('late');
  });

  it('lives as long as casts that were accepted wait to leave', async () => {
    await using cluster = new Cluster();
    const b = await cluster.start('b');
    let ran = 0;
    b.register('math', { add: () => 3, slow: () => new Promise((resolve) => setTimeout(resolve, 5, (ran += 1))) });
    const { port } = cluster.discovery.locations.get(b.name) ?? { port: 0 };
    const cast = "rpc.cast('b@127.0.0.1', 'math', 'slow', ['x'.repeat(500)])";
    await script(port, `await call(); let left = 1000; while (left > 0 && ${cast}) left -= 1; console.log(left);`);
    await until(() => ran === 1000);
  });

  it('lives as long as a call waits for a node that is down', async () => {
    const body = 'console.log(await call({ timeout: 400, waitForReady: true }).catch((error) => error.code));';
    await expect(script(1, body)).resolves.toBe('node_down');
  });
});
