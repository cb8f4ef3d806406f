/** Node `b` of a test about running out of file descriptors: started with a low limit, it uses them up when asked to. */
import { closeSync, openSync } from 'node:fs';
import { createNode } from 'nestjs-gen-rpc/core';

const log = { info() {}, warn: (line) => lines.push(line), error: (line) => lines.push(line) };
const lines = [];
const held = [];
const node = createNode({ ...JSON.parse(process.env.OPTIONS), name: 'b@127.0.0.1', listen: { port: 0 } }, { log });

node.register('files', {
  /** Opens files until there is no descriptor left; returns the system's word for that. */
  exhaust: () => {
    try {
      for (;;) held.push(openSync('/dev/null', 'r'));
    } catch (error) {
      return error.code;
    }
  },
  release: () => held.splice(0).forEach((file) => closeSync(file)),
  /** How a call to another node ends. */
  callOut: () =>
    node.call('c@127.0.0.1', 'any', 'thing').catch(({ code, details }) => ({ code, cause: details.cause })),
  lines: () => lines,
});

const address = await node.listen();
process.send({ port: address.port });
