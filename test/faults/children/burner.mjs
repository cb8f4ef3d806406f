/** A node whose functions keep the event loop for as long as they are told, which is what a busy processor looks like. */
import { createNode } from 'nestjs-gen-rpc/core';

const node = createNode({ name: 'b@127.0.0.1', secret: process.env.SECRET, listen: { port: 0 } });

function burn(ms) {
  const end = performance.now() + ms;
  while (performance.now() < end);
  return ms;
}

node.register('cpu', {
  burn: ([ms]) => burn(ms),
  /** Not at once, as functions that ask another node first. */
  burnLater: async ([ms]) => {
    await new Promise((resolve) => setTimeout(resolve, 10));
    return burn(ms);
  },
});

const { port } = await node.listen();
process.send({ port });
