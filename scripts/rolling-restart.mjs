// Restarts every node of a small cluster under load, again and again, and counts: `npm run rolling-restart -- --rounds 20`.
// Each node is a process that calls all others; it is told to end by SIGTERM, drains, and a new one takes its place.
// Ends with 1 if a call was lost, or ran twice.
import { fork } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '20' },
    nodes: { type: 'string', default: '5' },
    rate: { type: 'string', default: '200' },
    timeout: { type: 'string', default: '8000' },
    json: { type: 'boolean', default: false },
  },
});
const [rounds, count, rate, timeout] = [values.rounds, values.nodes, values.rate, values.timeout].map(Number);
const PATIENCE_MS = 20_000;
const SHOWN_LOSSES = 10;

const program = fileURLToPath(new URL('../test/faults/children/rolling-node.mjs', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'rolling-restart-'));
const ports = await freePorts();
const environment = {
  ...process.env,
  SECRET: randomBytes(32).toString('base64'),
  ...{ FOLDER: folder, PORTS: JSON.stringify(ports), RATE: String(rate), TIMEOUT: String(timeout) },
};
const children = new Map();

/** As many ports as nodes, by their names. */
async function freePorts() {
  const servers = await Promise.all(
    Array.from({ length: count }, () => {
      const server = createServer();
      return new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server)));
    }),
  );
  const named = servers.map((server, index) => [`n${index + 1}@127.0.0.1`, server.address().port]);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return Object.fromEntries(named);
}

/** Waits for a message of a child. */
function heard(child, name, message) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => settle(new Error(`${name} did not say "${message}" in time`)), PATIENCE_MS);
    const onMessage = (said) => said === message && settle();
    const onExit = (code, signal) => settle(new Error(`${name} ended (${code ?? signal}) before it said "${message}"`));
    const settle = (error) => {
      clearTimeout(timer);
      child.off('message', onMessage).off('exit', onExit);
      if (error === undefined) resolve();
      else reject(error);
    };
    child.on('message', onMessage).on('exit', onExit);
  });
}

/** Resolves once the process listens. */
async function start(name) {
  const child = fork(program, { env: { ...environment, NAME: name }, execArgv: [] });
  children.set(name, child);
  await heard(child, name, 'listening');
  return child;
}

/** Resolves once the process has ended by itself. */
async function stop(name) {
  const child = children.get(name);
  const [code, signal] = await new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`${name} did not end in time`)), PATIENCE_MS);
    child.once('exit', (...how) => {
      clearTimeout(timer);
      resolve(how);
    });
    child.kill('SIGTERM');
  });
  children.delete(name);
  if (code !== 0) throw new Error(`${name} ended with ${code ?? signal}`);
}

/** Starts, loads, and resolves once everyone talks to it and it to everyone. */
async function startUnderLoad(name) {
  const child = await start(name);
  const warm = heard(child, name, 'warm');
  child.send('load');
  await warm;
}

async function run() {
  const names = Object.keys(ports);
  await Promise.all(names.map((name) => start(name)));
  const warm = names.map((name) => heard(children.get(name), name, 'warm'));
  for (const child of children.values()) child.send('load');
  await Promise.all(warm);
  let restarts = 0;
  for (let round = 1; round <= rounds; round += 1) {
    for (const name of names) {
      await stop(name);
      await startUnderLoad(name);
      restarts += 1;
    }
    if (!values.json) console.log(`round ${round} of ${rounds}`);
  }
  const quiet = names.map((name) => heard(children.get(name), name, 'quiet'));
  for (const child of children.values()) child.send('quiet');
  await Promise.all(quiet);
  await Promise.all(names.map((name) => stop(name)));
  return restarts;
}

/** What the processes have noted, counted. */
function readNotes() {
  const calls = new Map();
  const ran = new Map();
  for (const file of readdirSync(folder)) {
    for (const line of readFileSync(join(folder, file), 'utf8').split('\n')) {
      const [word, id, ms, ...rest] = line.split(' ');
      if (word === '') continue;
      if (word === 'ran') ran.set(id, (ran.get(id) ?? 0) + 1);
      else if (word === 'made') calls.set(id, { end: 'unsettled', settled: 0 });
      else calls.set(id, { end: word, ms: Number(ms), why: rest.join(' '), settled: calls.get(id).settled + 1 });
    }
  }
  return { calls, ran };
}

const percentile = (sorted, share) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? NaN;

function figures(restarts, seconds) {
  const { calls, ran } = readNotes();
  const lost = [...calls].filter(([, { end }]) => end !== 'ok');
  const latencies = [...calls.values()].filter(({ end }) => end === 'ok').map(({ ms }) => ms);
  latencies.sort((a, b) => a - b);
  const byCode = {};
  for (const [id, { end }] of lost) {
    const kind = `${end}, ${ran.has(id) ? 'ran' : 'did not run'}`;
    byCode[kind] = (byCode[kind] ?? 0) + 1;
  }
  return {
    ...{ nodes: count, rounds, restarts, seconds: Math.round(seconds) },
    ...{ made: calls.size, ok: latencies.length, lost: lost.length, lostByKind: byCode },
    executedTwice: [...ran.values()].filter((times) => times > 1).length,
    settledTwice: [...calls.values()].filter(({ settled }) => settled > 1).length,
    okButNeverRan: [...calls].filter(([id, { end }]) => end === 'ok' && !ran.has(id)).length,
    p50Ms: percentile(latencies, 0.5),
    p99Ms: percentile(latencies, 0.99),
    maxMs: latencies.at(-1) ?? NaN,
    losses: lost.slice(0, SHOWN_LOSSES).map(([id, { end, ms, why }]) => `${end} ${id} ${ms} ms ${why}`),
  };
}

function print({ losses, lostByKind, ...numbers }) {
  for (const [name, value] of Object.entries(numbers)) console.log(`${name.padEnd(14)} ${value}`);
  for (const [kind, times] of Object.entries(lostByKind)) console.log(`  lost: ${kind}: ${times}`);
  for (const line of losses) console.log(`    ${line}`);
}

try {
  const since = performance.now();
  const restarts = await run();
  const result = figures(restarts, (performance.now() - since) / 1000);
  if (values.json) console.log(JSON.stringify(result));
  else print(result);
  const { lost, executedTwice, settledTwice, okButNeverRan } = result;
  process.exitCode = lost + executedTwice + settledTwice + okButNeverRan > 0 ? 1 : 0;
} finally {
  for (const child of children.values()) child.kill('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
}
