/** One node of a cluster that finds itself through etcd: calls everyone it knows at a steady rate, and tells what it sees. */
import { createNode, EtcdDiscovery } from 'nestjs-gen-rpc/core';

const { NAME: name, SECRET: secret, ENDPOINT, TTL, RATE, TIMEOUT } = process.env;
const TICK_MS = 10;

const node = createNode({
  ...{ name, secret },
  listen: { port: 0 },
  discovery: new EtcdDiscovery({ endpoints: [ENDPOINT], ttl: Number(TTL) }),
  // A busy machine is not what this is about.
  concurrency: { loopDelay: Infinity },
  // What dies in the middle of a call of a module is called again elsewhere.
  retry: { idempotent: ['work.*'] },
});

/** Takes 0 to 9 ms, so that there is always something in flight. */
node.register('work', {
  do: async ([number]) => {
    await new Promise((resolve) => setTimeout(resolve, number % 10));
    return number;
  },
});

const now = () => performance.timeOrigin + performance.now();
/** What was called: nodes by their name, and any that has the module. */
const calls = { made: 0, failures: [] };
const moduleCalls = { made: 0, failures: [] };
let pending = 0;

async function call(counted, target, to) {
  const number = counted.made++;
  const from = now();
  pending += 1;
  try {
    const answer = await node.call(target, 'work', 'do', [number], { timeout: Number(TIMEOUT) });
    if (answer !== number) throw new Error(`Not the answer to ${number}.`);
  } catch (error) {
    counted.failures.push({ caller: name, to, from, until: now(), code: error.code, message: error.message });
  } finally {
    pending -= 1;
  }
}

/** In turn, whoever is a member then. */
let turn = 0;
function callNext() {
  const others = node.members().filter((member) => member.name !== name);
  if (others.length === 0) return;
  turn += 1;
  const other = others[turn % others.length].name;
  if (turn % 4 === 0) void call(moduleCalls, { module: 'work' }, 'work');
  else void call(calls, other, other);
}

let load;
function startLoad() {
  let due = 0;
  let last = performance.now();
  load = setInterval(() => {
    const passed = performance.now() - last;
    last += passed;
    // Whatever held this process up, it does not become a flood.
    due = Math.min(due + (passed * Number(RATE)) / 1000, 20);
    for (; due >= 1; due -= 1) callNext();
  }, TICK_MS);
}

/** The parent knows of each table at any time. */
function tell() {
  const members = node.members().map((member) => member.name);
  process.send({ what: 'members', members });
}

node.onMembership(({ member }) => {
  tell();
  const words = (member.modules ?? []).filter((module) => module.name.startsWith('word'));
  if (words.length > 0) process.send({ what: 'heard', words: words.map((module) => module.name), at: now() });
});

const HOW = {
  load: startLoad,
  /** It has something new to tell. */
  announce: ({ word }) => {
    const at = now();
    node.register(word, { say: () => word });
    process.send({ what: 'announced', word, at });
  },
  age: () => process.send({ what: 'age', ms: node.stats().discoveryAgeMs }),
  report: () => {
    clearInterval(load);
    const wait = setInterval(() => {
      if (pending > 0) return;
      clearInterval(wait);
      process.send({ what: 'report', calls, moduleCalls });
    }, TICK_MS);
  },
  end: async () => {
    process.off('disconnect', orphaned);
    await node.close();
    process.disconnect();
  },
};

const orphaned = () => process.exit(1);
process.on('disconnect', orphaned);
process.on('message', (message) => void HOW[message.what](message));

await node.listen();
process.send({ what: 'listening' });
