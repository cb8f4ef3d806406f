/** Node `b` of tests about how a process ends: notes what ran in a file, drains on SIGTERM, closes or breaks when told to. */
import { openSync, writeSync } from 'node:fs';
import { createNode } from 'nestjs-gen-rpc/core';

const { OPTIONS, NOTES } = process.env;
// Written at once: what ran is known however this process ends.
const notes = openSync(NOTES, 'a');
const node = createNode(JSON.parse(OPTIONS));

let running = 0;
let open = () => {};
const gate = new Promise((resolve) => (open = resolve));

const begin = (id) => {
  writeSync(notes, `${id}\n`);
  running += 1;
};

node.register('work', {
  quick: ([id]) => (begin(id), id),
  /** Ends some time after the gate was opened. */
  slow: async ([id]) => {
    begin(id);
    await gate;
    await new Promise((resolve) => setTimeout(resolve, id % 200));
    return id;
  },
  running: () => running,
  /** Fails where nobody can catch it. */
  breakLater: () => {
    setTimeout(() => {
      throw new Error('on purpose, and caught by nobody');
    }, 10);
    return new Promise(() => {});
  },
});

process.once('SIGTERM', async () => {
  const drained = node.drain();
  open();
  await drained;
  process.disconnect();
});
process.on('message', async ({ close }) => {
  for (const target of close) await node.call(target, 'math', 'add', [1, 2]);
  await node.close();
  // The system lets go of what was closed a turn later.
  await new Promise(setImmediate);
  // Whatever else keeps a process alive is not to be found here: it has to end by itself.
  process.send({ left: process.getActiveResourcesInfo().filter((kind) => kind !== 'PipeWrap') });
  process.disconnect();
});

const { port } = await node.listen();
process.send({ port });
