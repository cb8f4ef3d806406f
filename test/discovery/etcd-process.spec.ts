/** What is open to etcd keeps no process alive. */
import { spawnSync } from 'node:child_process';
import { expect, it } from 'vitest';
import { SECRET } from '../support/cluster.js';
import { describeWithEtcd, Etcd } from '../support/etcd.js';
import { PREFIX, recordOf } from '../support/etcd-source.js';

/** Is told of a node, and then has nothing more to do: neither its watch nor its lease is a reason to stay. */
const PROGRAM = `
  import { createNode, EtcdDiscovery } from 'nestjs-gen-rpc/core';
  const discovery = new EtcdDiscovery({ endpoints: [process.env.ENDPOINT] });
  const node = createNode({ name: 'a@127.0.0.2', secret: process.env.SECRET, listen: false, discovery });
  discovery.register({ name: 'a@127.0.0.2', locations: [{ port: 1 }] });
  const stays = setInterval(() => {
    if (node.members().length < 2) return;
    clearInterval(stays);
    console.log('idle');
  }, 10);
`;

describeWithEtcd('a process that finds others through etcd', () => {
  it('ends when it has nothing else to do', async () => {
    await using etcd = await Etcd.start();
    await etcd.put(`${PREFIX}b@127.0.0.2`, JSON.stringify(recordOf('b@127.0.0.2', 1)));
    const { stdout, stderr, status } = spawnSync(process.execPath, ['--input-type=module', '-e', PROGRAM], {
      encoding: 'utf8',
      env: { ...process.env, NODE_OPTIONS: '', ENDPOINT: etcd.endpoint, SECRET },
      timeout: 15_000,
    });
    expect({ stdout, stderr, status }).toEqual({ stdout: 'idle\n', stderr: '', status: 0 });
  });
});
