// A cluster that finds itself through a real etcd, under load: `npm run discovery -- --down 60`. Nodes are killed, etcd
// is killed, new nodes come while it is away, and etcd returns. Ends with 1 if a call to a node that lived has failed.
import { fork, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const { values } = parseArgs({
  options: {
    nodes: { type: 'string', default: '10' },
    die: { type: 'string', default: '3' },
    join: { type: 'string', default: '3' },
    // Seconds that etcd is away.
    down: { type: 'string', default: '60' },
    // Calls a second, of each node.
    rate: { type: 'string', default: '20' },
    ttl: { type: 'string', default: '15000' },
    timeout: { type: 'string', default: '5000' },
    json: { type: 'boolean', default: false },
  },
});
const [count, dying, joining, down, ttl] = [values.nodes, values.die, values.join, values.down, values.ttl].map(Number);
const PATIENCE_MS = 60_000 + ttl;
const WORDS = 20;
const SHOWN_FAILURES = 10;
const program = fileURLToPath(new URL('../test/faults/children/discovered-node.mjs', import.meta.url));

const now = () => performance.timeOrigin + performance.now();
const say = (line) => void (values.json || console.log(line));
const median = (numbers) => numbers.toSorted((one, other) => one - other)[Math.floor(numbers.length / 2)];

/** Waits until `holds`, looking often. Resolves with the ms that it took. */
async function until(what, holds) {
  const since = now();
  while (!holds()) {
    if (now() - since > PATIENCE_MS) throw new Error(`Waited in vain until ${what}.`);
    await sleep(2);
  }
  return Math.round(now() - since);
}

class Etcd {
  folder = mkdtempSync(join(tmpdir(), 'discovery-'));

  static async create() {
    const etcd = new Etcd();
    const ports = createServer().listen(0, '127.0.0.1');
    const peers = createServer().listen(0, '127.0.0.1');
    await Promise.all([once(ports, 'listening'), once(peers, 'listening')]);
    etcd.endpoint = `http://127.0.0.1:${ports.address().port}`;
    etcd.peer = `http://127.0.0.1:${peers.address().port}`;
    await Promise.all([ports, peers].map((server) => new Promise((resolve) => server.close(resolve))));
    await etcd.start();
    return etcd;
  }

  /** With all that it had before. */
  async start() {
    const urls = {
      'listen-client-urls': this.endpoint,
      'advertise-client-urls': this.endpoint,
      'listen-peer-urls': this.peer,
      'initial-advertise-peer-urls': this.peer,
      'initial-cluster': `default=${this.peer}`,
    };
    const options = { 'data-dir': this.folder, 'log-level': 'error', ...urls };
    const args = Object.entries(options).flatMap(([name, value]) => [`--${name}`, value]);
    this.child = spawn('etcd', args, { stdio: 'ignore' });
    await once(this.child, 'spawn');
    const isThere = () =>
      fetch(`${this.endpoint}/health`).then(
        (answer) => answer.ok,
        () => false,
      );
    for (const end = now() + PATIENCE_MS; !(await isThere());) {
      if (this.child.exitCode !== null || now() > end) throw new Error('etcd does not start.');
      await sleep(20);
    }
  }

  async kill() {
    const ended = once(this.child, 'exit');
    this.child.kill('SIGKILL');
    await ended;
  }

  remove() {
    this.child?.kill('SIGKILL');
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** A node in a process of its own, and what it has told of itself. */
class Node {
  members = new Set();
  /** When it heard of each word. */
  heard = new Map();
  said = new Map();
  diedAt = Infinity;

  constructor(name, env) {
    this.name = name;
    this.child = fork(program, { env: { ...process.env, ...env, NAME: name }, execArgv: [] });
    this.child.on('message', (message) => this.onMessage(message));
    this.child.on('exit', (code) => (this.exit = code ?? 'killed'));
  }

  onMessage(message) {
    if (message.what === 'members') this.members = new Set(message.members);
    else if (message.what === 'heard') {
      for (const word of message.words) if (!this.heard.has(word)) this.heard.set(word, message.at);
    } else this.said.set(message.what, message);
  }

  /** Resolves with its answer to a question. */
  async ask(what, answer = what, more = {}) {
    this.said.delete(answer);
    this.child.send({ what, ...more });
    await until(`${this.name} says "${answer}"`, () => this.said.has(answer));
    return this.said.get(answer);
  }

  listening() {
    return until(`${this.name} listens`, () => {
      if (this.exit !== undefined) throw new Error(`${this.name} has ended: ${this.exit}`);
      return this.said.has('listening');
    });
  }

  knowsExactly(names) {
    return this.members.size === names.length && names.every((name) => this.members.has(name));
  }
}

async function run(etcd, nodes) {
  const env = { SECRET: randomBytes(32).toString('base64'), ENDPOINT: etcd.endpoint };
  Object.assign(env, { TTL: values.ttl, RATE: values.rate, TIMEOUT: values.timeout });
  const start = (number) => {
    const node = new Node(`n${number}@127.0.0.1`, env);
    nodes.push(node);
    return node;
  };
  const living = () => nodes.filter((node) => node.diedAt === Infinity);
  const allKnow = (who = living()) => {
    const names = living().map((node) => node.name);
    return who.every((node) => node.knowsExactly(names));
  };
  const figures = {};

  for (let number = 1; number <= count; number += 1) start(number);
  await Promise.all(nodes.map((node) => node.listening()));
  figures.foundEachOtherMs = await until('all know all', allKnow);
  say(`${count} nodes have found each other`);
  figures.eventToTablesMs = await announce(nodes);
  for (const node of nodes) node.child.send({ what: 'load' });
  await sleep(2000);

  for (const node of nodes.slice(0, dying)) {
    node.diedAt = now();
    node.child.kill('SIGKILL');
  }
  say(`${dying} were killed; now etcd is, for ${down} s`);
  await sleep(500);
  await etcd.kill();
  const back = now() + down * 1000;
  await sleep((down * 1000) / 2);
  const added = Array.from({ length: joining }, (_, index) => start(count + index + 1));
  await Promise.all(added.map((node) => node.listening()));
  for (const node of added) node.child.send({ what: 'load' });
  say(`${joining} new ones were started meanwhile`);
  await sleep(Math.max(0, back - now()));
  const ages = await Promise.all(
    living()
      .filter((node) => !added.includes(node))
      .map((node) => node.ask('age')),
  );
  figures.oldestKnowledgeMs = Math.round(Math.max(...ages.map(({ ms }) => ms)));
  await etcd.start();
  say('etcd is back');
  const names = added.map((node) => node.name);
  figures.newKnownEverywhereMs = await until('all know the new ones', () =>
    living().every((node) => names.every((name) => node.members.has(name))),
  );
  figures.deadForgottenMs = figures.newKnownEverywhereMs + (await until('nobody knows the dead', allKnow));
  await sleep(2000);
  const reports = await Promise.all(living().map((node) => node.ask('report')));
  for (const node of living()) node.child.send({ what: 'end' });
  await until('all have ended', () => living().every((node) => node.exit !== undefined));
  return { ...figures, ...counted(reports, nodes) };
}

/** One after the other, nodes have something new to tell. How long it takes until all others know, in the middle. */
async function announce(nodes) {
  const times = [];
  const last = [];
  for (let round = 0; round < WORDS; round += 1) {
    const word = `word${round}`;
    const speaker = nodes[round % nodes.length];
    const { at } = await speaker.ask('announce', 'announced', { word });
    await until(`all have heard ${word}`, () => nodes.every((node) => node.heard.has(word)));
    const took = nodes.map((node) => node.heard.get(word) - at);
    times.push(...took);
    last.push(Math.max(...took));
  }
  return { median: Number(median(times).toFixed(1)), medianOfLast: Number(median(last).toFixed(1)) };
}

function counted(reports, nodes) {
  const diedAt = new Map(nodes.map((node) => [node.name, node.diedAt]));
  const failures = reports.flatMap(({ calls }) => calls.failures);
  const lost = failures.filter(({ to, until: end }) => end < diedAt.get(to));
  const lostOfModule = reports.flatMap(({ moduleCalls }) => moduleCalls.failures);
  const sum = (of) => reports.reduce((all, report) => all + report[of].made, 0);
  return {
    calls: sum('calls'),
    toTheDead: failures.length - lost.length,
    failed: lost.length,
    moduleCalls: sum('moduleCalls'),
    moduleCallsFailed: lostOfModule.length,
    failures: [...lost, ...lostOfModule].slice(0, SHOWN_FAILURES),
  };
}

function print({ failures, eventToTablesMs, ...figures }, seconds) {
  const lines = {
    seconds: Math.round(seconds),
    'calls to living nodes': `${figures.calls - figures.toTheDead}, failed: ${figures.failed}`,
    'calls of a module': `${figures.moduleCalls}, failed: ${figures.moduleCallsFailed}`,
    'calls to the dead, not yet known to be': figures.toTheDead,
    'found each other after': `${figures.foundEachOtherMs} ms`,
    'event in all tables': `${eventToTablesMs.median} ms in the median, the last of ${count} after ${eventToTablesMs.medianOfLast} ms`,
    'oldest knowledge used': `${figures.oldestKnowledgeMs} ms`,
    'new ones known everywhere': `${figures.newKnownEverywhereMs} ms after etcd was back`,
    'dead ones forgotten': `${figures.deadForgottenMs} ms after etcd was back`,
  };
  for (const [name, value] of Object.entries(lines)) console.log(`${name.padEnd(40)}${value}`);
  for (const failure of failures) console.log(`    ${JSON.stringify(failure)}`);
}

const nodes = [];
let etcd;
try {
  const since = performance.now();
  etcd = await Etcd.create();
  const figures = await run(etcd, nodes);
  if (values.json) console.log(JSON.stringify(figures));
  else print(figures, (performance.now() - since) / 1000);
  process.exitCode = figures.failed + figures.moduleCallsFailed > 0 ? 1 : 0;
} catch (error) {
  if (error.code !== 'ENOENT' || error.path !== 'etcd') throw error;
  console.error(
    "There is no etcd here. It is in Debian's and Ubuntu's package etcd-server: apt-get install etcd-server.",
  );
  process.exitCode = 1;
} finally {
  for (const node of nodes) node.child.kill('SIGKILL');
  etcd?.remove();
}
