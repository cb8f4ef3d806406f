/** A node on a host of its own: does what the test tells it to do, talks to the others all the while, and says what it has seen. */
import { openSync, readlinkSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { createNode } from 'nestjs-gen-rpc/core';
import { tcpSockets } from '../../support/tcp-sockets.mjs';

const { OPTIONS, FOLDER } = process.env;

// First of all: whatever happens below, nobody is left behind.
process.on('disconnect', () => process.exit(1));

const options = JSON.parse(OPTIONS);
// A line for each time that a function began, written at once: it is there however this process ends.
const notes = openSync(join(FOLDER, `${options.name}.${process.pid}.log`), 'a');

/** ms of a clock that all processes of a machine share. */
const now = () => Number(process.hrtime.bigint() / 1000n) / 1000;
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const openSockets = () => tcpSockets().filter(({ destroyed }) => !destroyed);

/** What happens to a function, by the id of its call: what a test may wait for. */
class Events {
  #happened = new Map();
  #waiting = new Map();

  of(id) {
    if (!this.#waiting.has(id)) {
      this.#waiting.set(id, new Promise((resolve) => this.#happened.set(id, resolve)));
    }
    return this.#waiting.get(id);
  }

  happen(id, what) {
    void this.of(id);
    this.#happened.get(id)({ ...what, at: now() });
  }
}

const began = new Events();
const ended = new Events();

/** Where every node is: what discovery knows. */
let places = {};
const node = createNode({ ...options, nodes: (name) => places[name] });

function note(id, signal) {
  writeSync(notes, `${id}\n`);
  began.happen(id);
  signal.addEventListener('abort', () => ended.happen(id, { code: signal.reason.code }));
}

/** An id that all nodes get, as this one notes it. */
const at = (id) => [id, node.name].join(' ');

const who = (_args, { caller }) => ({
  ...{ node: node.name, pid: process.pid, network: readlinkSync('/proc/self/ns/net') },
  caller: caller.address,
});

node.register('host', {
  who,
  echo: ([id, value], { signal }) => (note(id, signal), value),
  /** The same, for what is sent to many with the same arguments. */
  everywhere: ([id], { signal }) => note(at(id), signal),
  wait: ([id], { signal }) => (note(id, signal), new Promise(() => {})),
  give: ([id, size], { signal }) => (note(id, signal), 'x'.repeat(size)),
  /** 0, 1, 2 …, one every so many ms; without end unless told. */
  count: async function* ([id, every, end = Infinity], { signal }) {
    note(id, signal);
    for (let n = 0; n < end; n += 1) {
      yield n;
      await sleep(every);
    }
  },
  /** How many items have come. */
  collect: async ([id, items], { signal }) => {
    note(id, signal);
    const read = await readAll(items);
    ended.happen(id + ' read', read);
    return read;
  },
});
node.register('relay', {
  /** As this node sees it: calls the targets, or everyone it is connected to. */
  multicall: async ([targets]) => {
    const { results, badNodes } = await node.multicall(...(targets === null ? [] : [targets]), 'host', 'who');
    return { from: results.map((result) => result.node), badNodes };
  },
});
/** Everyone gets the same message. */
node.registerEvent('news', (id, { signal }) => note(at(id), signal));

/** How many items came, whether they were 0, 1, 2 …, and how it ended. */
async function readAll(items) {
  let count = 0;
  let inOrder = true;
  try {
    for await (const item of items) inOrder &&= item === count++;
    return { items: count, inOrder };
  } catch ({ code, maybeExecuted }) {
    return { items: count, inOrder, code, maybeExecuted };
  }
}

function failureOf(error) {
  if (error === undefined) return {};
  const { code, maybeExecuted, message, details } = error;
  return { code, maybeExecuted, message, cause: details?.cause };
}

/** How a call ends, when, and after how long. */
async function endOf(promise) {
  const since = now();
  const end = await promise.then(
    (value) => ({ value: typeof value === 'string' && value.length > 100 ? value.length : value }),
    failureOf,
  );
  return { ...end, at: now(), ms: now() - since };
}

/** Small calls to all others, one beside the other, until told to stop; at least so many to each. */
const LEAST_CALLS = 3;

class Traffic {
  #timers = [];
  #calls = [];
  #enough = [];

  constructor({ tag, peers, every, timeout }) {
    for (const to of peers) {
      let number = 0;
      let enough;
      this.#enough.push(new Promise((resolve) => (enough = resolve)));
      const one = async () => {
        const id = `${tag} ${node.name} ${process.pid} ${to} ${(number += 1)}`;
        if (number >= LEAST_CALLS) enough();
        const end = await endOf(node.call(to, 'host', 'echo', [id, number], { timeout }));
        return { id, to, ...end };
      };
      this.#calls.push(one());
      this.#timers.push(setInterval(() => this.#calls.push(one()), every));
    }
  }

  async stop() {
    await Promise.all(this.#enough);
    for (const timer of this.#timers) clearInterval(timer);
    return Promise.all(this.#calls);
  }
}

let traffic;

const verbs = {
  places: (about) => void (places = about),
  call: ({ target, module = 'host', fn, args, options: how }) => endOf(node.call(target, module, fn, args, how)),
  stream: async ({ target, fn, args, options: how }) => {
    const read = await readAll(node.stream(target, 'host', fn, args, how));
    return { ...read, at: now() };
  },
  /** A call whose last argument is a stream; `ended` of its id tells when it was left. */
  upload: ({ target, id, every, options: how }) => {
    const items = async function* () {
      try {
        for (let n = 0; ; n += 1) {
          yield n;
          await sleep(every);
        }
      } finally {
        ended.happen(id);
      }
    };
    return endOf(node.call(target, 'host', 'collect', [id, items()], how));
  },
  many: async ({ verb, args }) => {
    const result = await node[verb](...args);
    if (verb !== 'multicall') return result;
    return { ...result, outcomes: result.outcomes.map(({ error, ...rest }) => ({ ...rest, ...failureOf(error) })) };
  },
  began: (id) => began.of(id),
  ended: (id) => ended.of(id),
  /** Cuts the sockets that others have opened to here. */
  reset: () => {
    const accepted = openSockets().filter(({ localPort }) => localPort === options.listen.port);
    for (const socket of accepted) socket.resetAndDestroy();
    return accepted.length;
  },
  startTraffic: (about) => void (traffic = new Traffic(about)),
  stopTraffic: () => traffic.stop(),
  stats: () => node.stats(),
  /** Ends for good; what is left of it must not keep the process. */
  close: async () => {
    await node.close();
    process.removeAllListeners('disconnect');
    return { ...node.stats(), sockets: openSockets().length };
  },
};

process.on('message', async ({ id, verb, about }) => {
  process.send({ id, answer: await verbs[verb](about) });
});

await node.listen();
process.send('listening');
