/** A node of the integration test: a process of its own, which ends with its parent, and cuts its sockets when told. */
import { createNode } from 'nestjs-gen-rpc/core';
import { tcpSockets } from '../../support/tcp-sockets.mjs';

const { NAME: name, PORT, SECRET: secret, OPTIONS } = process.env;
const port = Number(PORT);

// First of all: whatever happens below, nobody is left behind.
process.on('disconnect', () => process.exit());

const node = createNode({
  ...{ name, secret, clientPort: port },
  listen: { host: name.slice(name.indexOf('@') + 1), port },
  reconnect: { min: 1, max: 1 },
  ...JSON.parse(OPTIONS),
});

/** Functions that were told that nobody waits for them, with the reason. */
const stopped = [];
const heard = [];

node.register('os', {
  timestamp: () => ({ node: name, pid: process.pid }),
  never: (_args, { signal, caller }) => {
    signal.addEventListener('abort', () => stopped.push({ caller: caller.node, reason: signal.reason.code }));
    return new Promise(() => {});
  },
  nodes: () => node.nodes(),
  saw: () => {
    const { runningCalls, acceptedConnections } = node.stats();
    return { runningCalls, acceptedConnections, stopped, heard };
  },
});
node.register('relay', {
  /** As this node sees it: calls the targets, or everyone it is connected to. */
  multicall: async ([targets]) => {
    const call = ['os', 'timestamp'];
    const { results, badNodes } = await node.multicall(...(targets === null ? call : [targets, ...call]));
    return { from: results.map((result) => result.node), badNodes };
  },
});
node.registerEvent('news', (message) => void heard.push(message));

process.on('message', (message) => {
  if (message !== 'reset') return;
  // Those that others have opened to here.
  const accepted = tcpSockets().filter(({ localPort, destroyed }) => localPort === port && !destroyed);
  for (const socket of accepted) socket.resetAndDestroy();
});

await node.listen();
process.send('listening');
