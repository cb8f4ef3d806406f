/** One of several processes of a test that call themselves `x`: makes calls when it is told to, and says who it is. */
import { createNode } from 'nestjs-gen-rpc/core';

const { SECRET, PORT, LIFE } = process.env;
const node = createNode({
  name: 'x@127.0.0.1',
  secret: SECRET,
  listen: { port: 0 },
  nodes: { 'b@127.0.0.1': { port: Number(PORT) } },
  reconnect: { min: 1, max: 10 },
  ...(LIFE === undefined ? {} : { life: LIFE }),
});
node.register('who', { pid: () => process.pid });

process.on('message', ({ id, fn, key }) => {
  node.call({ node: 'b@127.0.0.1', key }, 'b', fn, []).then(
    (value) => process.send({ id, end: { value } }),
    ({ code, maybeExecuted, message }) => process.send({ id, end: { code, maybeExecuted, message } }),
  );
});

const address = await node.listen();
process.send({ port: address.port });
