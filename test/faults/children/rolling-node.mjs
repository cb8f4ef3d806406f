/** One node of a rolling restart: calls all others at a steady rate, is called by them, and drains when it is told to end. */
import { openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { createNode } from 'nestjs-gen-rpc/core';

const { NAME: name, SECRET: secret, FOLDER, PORTS, RATE, TIMEOUT } = process.env;
/** Port of every node, by its name. */
const ports = JSON.parse(PORTS);
const others = Object.keys(ports).filter((other) => other !== name);
const TICK_MS = 10;

// What happened, a line each, written at once: whoever counts does not depend on how this process ends.
const notes = openSync(join(FOLDER, `${name}.${process.pid}.log`), 'a');
const note = (...words) => writeSync(notes, `${words.join(' ')}\n`);

const node = createNode({
  ...{ name, secret },
  listen: { port: ports[name] },
  nodes: Object.fromEntries(others.map((other) => [other, { port: ports[other] }])),
  // Well below the time that calls wait, or a node that takes seconds to start is tried again too late for them.
  reconnect: { max: 1000 },
});

const callers = new Set();
const answerers = new Set();
let warm = false;

/** Tells the parent, once, that every other node has called this one and has answered it. */
function tellWhenWarm() {
  if (warm || callers.size < others.length || answerers.size < others.length) return;
  warm = true;
  process.send('warm');
}

node.register('work', {
  /** Takes 0 to 19 ms, so that there is always something in flight. */
  do: async ([id, number], { caller }) => {
    note('ran', id);
    callers.add(caller.node);
    tellWhenWarm();
    await new Promise((resolve) => setTimeout(resolve, number % 20));
    return id;
  },
});

let made = 0;
let pending = 0;

async function callOne() {
  const number = made++;
  const target = others[number % others.length];
  const id = `${name}.${process.pid}.${number}`;
  const since = performance.now();
  const took = () => (performance.now() - since).toFixed(1);
  note('made', id);
  pending += 1;
  try {
    const answer = await node.call(target, 'work', 'do', [id, number], {
      timeout: Number(TIMEOUT),
      waitForReady: true,
    });
    note(answer === id ? 'ok' : 'wrong_answer', id, took());
    answerers.add(target);
    tellWhenWarm();
  } catch (error) {
    note(error.code ?? 'no_code', id, took(), target, `maybeExecuted=${error.maybeExecuted}`, error.message);
  } finally {
    pending -= 1;
  }
}

let load;

function startLoad() {
  const since = performance.now();
  load = setInterval(() => {
    const due = Math.floor(((performance.now() - since) * Number(RATE)) / 1000);
    // Whatever held this process up, it does not become a flood.
    for (let left = Math.min(due - made, 20); left > 0; left -= 1) void callOne();
  }, TICK_MS);
}

async function end() {
  clearInterval(load);
  process.off('disconnect', orphaned);
  await node.drain();
  if (process.connected) process.disconnect();
}

const orphaned = () => process.exit(1);
process.on('disconnect', orphaned);
process.once('SIGTERM', () => void end());
process.on('message', (message) => {
  if (message === 'load') startLoad();
  if (message !== 'quiet') return;
  clearInterval(load);
  const wait = setInterval(() => {
    if (pending > 0) return;
    clearInterval(wait);
    process.send('quiet');
  }, TICK_MS);
});

await node.listen();
process.send('listening');
