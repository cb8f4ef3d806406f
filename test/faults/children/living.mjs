/** A node of a test that stops and wakes it: answers others, makes calls when told to, and says what it has seen. */
import { createNode } from 'nestjs-gen-rpc/core';

// Whatever happens below, nobody is left behind.
process.on('disconnect', () => process.exit());

const node = createNode(JSON.parse(process.env.OPTIONS), { log: { info() {}, warn() {}, error() {} } });

/** Nothing else runs meanwhile, and nothing is read. */
const standStill = (ms) => void Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);

/** Calls that wait to be answered, by name; those that ran, and those that were told that nobody waits any more. */
const waiting = new Map();
const ran = [];
const told = [];

node.register('child', {
  pid: () => process.pid,
  echo: ([value]) => value,
  wait: ([name], { signal }) => {
    ran.push(name);
    signal.addEventListener('abort', () => told.push(name));
    return new Promise((resolve) => waiting.set(name, () => resolve(name)));
  },
  standStill: ([ms]) => standStill(ms),
});

const HOW = {
  stats: () => node.stats(),
  seen: () => ({ ran, told }),
  answer: (name) => waiting.get(name)(),
  /** Again and again, with one turn of the loop in between: what is asked in it has no answer before the next time. */
  standStill: async (ms, times = 1) => {
    for (let time = 0; time < times; time += 1) {
      standStill(ms);
      await new Promise((resolve) => setImmediate(resolve));
    }
  },
  call: (target, module, fn, args, options) =>
    node.call(target, module, fn, args, options).then(
      (value) => ({ value }),
      ({ code, maybeExecuted, message }) => ({ code, maybeExecuted, message }),
    ),
};

process.on('message', async ({ id, what, args }) => process.send({ id, value: await HOW[what](...args) }));

const address = await node.listen();
process.send(address.port);
