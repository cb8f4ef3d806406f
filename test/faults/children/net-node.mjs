/** A node in a network that a test breaks: makes the calls that it is told to make, and says what it has seen. */
import { subscribe } from 'node:diagnostics_channel';
import { createNode } from 'nestjs-gen-rpc/core';
import { tcpSockets } from '../../support/tcp-sockets.mjs';

const { OPTIONS } = process.env;

// First of all: whatever happens below, nobody is left behind.
process.on('disconnect', () => process.exit());

/** ms of a clock that all processes of a machine share. */
const now = () => Number(process.hrtime.bigint() / 1000n) / 1000;

/** Every socket that there was, and when it was gone. */
const sockets = [];
for (const role of ['client', 'server']) {
  subscribe(`net.${role}.socket`, ({ socket }) => {
    const entry = { role, socket, goneAt: undefined };
    sockets.push(entry);
    socket.on('close', () => (entry.goneAt = now()));
  });
}

const node = createNode(JSON.parse(OPTIONS));
/** How often each call has run, by its id. */
const ran = {};
const ranOnce = (id) => (ran[id] = (ran[id] ?? 0) + 1);

node.register('net', {
  echo: ([id, value]) => (ranOnce(id), value),
  never: ([id]) => (ranOnce(id), new Promise(() => {})),
  take: ([bytes]) => bytes.length,
  give: ([size]) => Buffer.alloc(size, 7),
});

/** How a call ends, and after how long. Bytes cannot be told to the parent; their length can. */
async function endOf(promise) {
  const since = now();
  const end = await promise.then(
    (value) => ({ value: Buffer.isBuffer(value) ? value.length : value }),
    ({ code, maybeExecuted, message }) => ({ code, maybeExecuted, message }),
  );
  return { ...end, ms: now() - since };
}

let bulk;

const verbs = {
  call: ({ target, fn, args, options }) => endOf(node.call(target, 'net', fn, args, options)),
  /** `count` calls with `bytes` of argument or of reply each, again and again until `stopBulk`. */
  startBulk: ({ target, count, bytes, direction }) => {
    const stops = new Set();
    const counts = { done: 0, failed: [] };
    const [fn, args] = direction === 'up' ? ['take', [Buffer.alloc(bytes, 7)]] : ['give', [bytes]];
    const line = async () => {
      while (!bulk.stopped && counts.failed.length === 0) {
        const stop = new AbortController();
        stops.add(stop);
        const { code, message } = await endOf(
          node.call(target, 'net', fn, args, { timeout: 600_000, signal: stop.signal }),
        );
        stops.delete(stop);
        if (code === undefined) counts.done += 1;
        else if (code !== 'cancelled') counts.failed.push(`${code}: ${message}`);
      }
    };
    bulk = { stops, counts, stopped: false };
    bulk.done = Promise.all(Array.from({ length: count }, line));
  },
  stopBulk: async () => {
    bulk.stopped = true;
    for (const stop of bulk.stops) stop.abort();
    await bulk.done;
    return bulk.counts;
  },
  /** A small call every `every` ms, whether those before have been answered or not. Returns how long each took. */
  ping: async ({ target, count, every }) => {
    const pings = [];
    for (let number = 0; number < count; number += 1) {
      pings.push(endOf(node.call(target, 'net', 'echo', [`ping ${number}`, 1], { timeout: 5000 })));
      await new Promise((resolve) => setTimeout(resolve, every));
    }
    return Promise.all(pings);
  },
  drain: ({ gracePeriod }) => node.drain(gracePeriod),
  stats: () => ({ ...node.stats(), ran, bytesRead: tcpSockets().reduce((sum, socket) => sum + socket.bytesRead, 0) }),
  /** Resolves with the time at which the last of all sockets was gone. */
  allGone: async () => {
    const open = sockets.filter(({ goneAt }) => goneAt === undefined);
    await Promise.all(open.map(({ socket }) => new Promise((resolve) => socket.once('close', resolve))));
    // What was TLS over one of them hears of it behind that.
    await new Promise(setImmediate);
    return {
      at: Math.max(...sockets.map(({ goneAt }) => goneAt)),
      destroyed: sockets.every(({ socket }) => socket.destroyed),
    };
  },
};

process.on('message', async ({ id, verb, about }) => {
  process.send({ id, answer: await verbs[verb](about) });
});

await node.listen();
process.send('listening');
