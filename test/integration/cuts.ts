/** What is cut, and what each side has to see of it: calls of both ways and streams are under way each time. */
import { expect } from 'vitest';
import type { End, HostNode, Read } from './host-node.js';
import type { Host, Lan } from './lan.js';
import type { Scenario, Scenarios } from './scenarios.js';
import type { Notebook } from './seen.js';
import { inTime, machineNow, type Site } from './site.js';
import { about, tellWeather } from './weather.js';

const LOST = { code: 'connection_lost', maybeExecuted: true };
const DOWN = { code: 'node_down', maybeExecuted: false };
/** Streams: ms between items, and how they begin. */
const ITEMS_EVERY_MS = 10;
const LONG = { timeout: 60_000 };
/** Shorter than a silent peer is found out. */
const IMPATIENT_MS = 300;

/** What is under way between two nodes when something is cut; each in an object, to be waited for later. */
class UnderWay {
  private constructor(
    readonly master: HostNode,
    readonly node: HostNode,
    readonly call: { id: string; end: Promise<End> },
    readonly back: { id: string; end: Promise<End> },
    readonly download: { id: string; end: Promise<Read> },
    readonly upload: { id: string; end: Promise<End> },
  ) {}

  static async start(site: Site, node: HostNode): Promise<UnderWay> {
    const { master } = site;
    const [down, up] = [site.id('download'), site.id('upload')];
    const read = master.stream(node, [down, ITEMS_EVERY_MS], LONG);
    const sent = master.upload(node, up, ITEMS_EVERY_MS, LONG);
    await Promise.all([node.began(down), node.began(up)]);
    const [call, back] = [await site.running(master, node), await site.running(node, master)];
    return new UnderWay(master, node, call, back, { id: down, end: read }, { id: up, end: sent });
  }

  /** Both ends of everything are told that it was lost, in time. */
  async allLost(since: number, seen: Notebook): Promise<void> {
    const { master, node, call, back, download, upload } = this;
    const [running, callback, read, sent] = await Promise.all([call.end, back.end, download.end, upload.end]);
    const told = await Promise.all([node.ended(call.id), master.ended(back.id), node.ended(download.id)]);
    const [received, source] = await Promise.all([node.ended(`${upload.id} read`), master.ended(upload.id)]);
    for (const end of [running, callback, read, sent]) expect(end).toMatchObject(LOST);
    for (const end of [...told, received]) expect(end).toMatchObject({ code: LOST.code });
    // What had come until then is whole.
    for (const stream of [read, received]) expect(stream).toMatchObject({ inOrder: true });
    for (const { at } of [running, callback, read, sent, ...told, received, source]) inTime(since, at);
    seen.cut('master: a call that runs', running, since);
    seen.note('the node: the function of that call', toldOf(told[0]), told[0].at - since);
    seen.cut('the node: a call of its own to the master', callback, since);
    seen.note('master: the function of that call', toldOf(told[1]), told[1].at - since);
    seen.cut('master: a stream that it reads', read, since);
    seen.note('the node: the function that makes it', toldOf(told[2]), told[2].at - since);
    seen.cut('master: a call with a stream as argument', sent, since);
    seen.note('the node: the function that reads it', toldOf(received), received.at - since);
    seen.note('master: the source of that stream', 'left', source.at - since);
  }
}

function toldOf({ code }: { code?: string }): string {
  return `told ${code}`;
}

/** Something after which the node hears nobody, or nobody hears it, and no one says so. */
function silence(cut: (lan: Lan, host: Host) => Promise<void>): Scenario {
  return async (site, seen) => {
    const { master, lan } = site;
    const node = site.nodeAt(1);
    const stop = await site.watch();
    const underWay = await UnderWay.start(site, node);
    const since = machineNow();
    await cut(lan, node.host);
    const impatient = site.echo(master, node, { timeout: IMPATIENT_MS });
    const written = site.echo(master, node);
    expect(await impatient).toMatchObject({ code: 'timeout', maybeExecuted: true });
    seen.call(`master: a call that waits ${IMPATIENT_MS} ms`, await impatient);
    await underWay.allLost(since, seen);
    expect(await written).toMatchObject(LOST);
    seen.cut('master: a call made after the cut', await written, since);
    const next = await site.echo(master, node);
    expect(next).toMatchObject(DOWN);
    seen.call('master: the next call', next);
    await healed(site, node, seen);
    tellWeather(seen, await stop(about(node.host)));
  };
}

/** Calls of both ways that wait for the node are answered once it can be reached again. */
async function healed(site: Site, node: HostNode, seen: Notebook): Promise<void> {
  const waiting = [site.patient(site.master, node), site.patient(node, site.master)];
  const since = machineNow();
  await site.lan.repair();
  const [there, back] = await Promise.all(waiting);
  for (const end of [there, back]) expect(end).toMatchObject({ value: 1 });
  seen.note('whole again: a call of the master that waits', 'answered', (there?.at ?? NaN) - since);
  seen.note('whole again: a call of the node that waits', 'answered', (back?.at ?? NaN) - since);
}

/** The node resets its sockets: both ends hear of it at once. */
const reset: Scenario = async (site, seen) => {
  const { master } = site;
  const node = site.nodeAt(1);
  const stop = await site.watch();
  const call = await site.running(master, node);
  const since = machineNow();
  expect(await node.reset()).toBe(site.others.length);
  const end = await call.end;
  expect(end).toMatchObject(LOST);
  seen.cut('master: a call that runs', end, since);
  const told = await node.ended(call.id);
  expect(told).toMatchObject({ code: LOST.code });
  seen.note('the node: the function of that call', toldOf(told), told.at - since);
  const next = await site.patient(master, node);
  expect(next).toMatchObject({ value: 1 });
  seen.call('master: the next call, which waits', next);
  tellWeather(seen, await stop(about(node.host)));
};

/** A node is no more, and another process gets its name: what `kill` and `revive` do about its host. */
function gone(
  kill: (lan: Lan, node: HostNode) => Promise<void>,
  revive: (lan: Lan, host: Host) => Promise<void>,
): Scenario {
  return async (site, seen) => {
    const { master, lan } = site;
    const node = site.nodeAt(1);
    const stop = await site.watch();
    const call = await site.running(master, node);
    const back = await site.running(node, master);
    const since = machineNow();
    await kill(lan, node);
    const end = await call.end;
    expect(end).toMatchObject(LOST);
    inTime(since, end.at);
    seen.cut('master: a call that runs', end, since);
    const told = await master.ended(back.id);
    expect(told).toMatchObject({ code: LOST.code });
    inTime(since, told.at);
    seen.note('master: the function of a call of the node', toldOf(told), told.at - since);
    const next = await site.echo(master, node);
    expect(next).toMatchObject(DOWN);
    seen.call('master: the next call', next);
    await revive(lan, node.host);
    await reborn(site, node, seen);
    tellWeather(seen, await stop(about(node.host)));
  };
}

/** Another process with the name of one that is no more. */
async function reborn(site: Site, dead: HostNode, seen: Notebook): Promise<void> {
  const waiting = site.master.call(dead, 'who', [], { waitForReady: true, timeout: 30_000 });
  const node = await site.boot(dead.host);
  const since = machineNow();
  await site.tellPlaces();
  const end = await waiting;
  expect(end.value, end.message).toMatchObject({ node: dead.name, pid: node.pid });
  expect(node.pid).not.toBe(dead.pid);
  seen.note('the new process: a call of the master that waits', 'answered', Math.max(0, end.at - since));
}

/** A node moves: its address is no more, and discovery knows the new one. */
const moved: Scenario = async (site, seen) => {
  const { master } = site;
  const node = site.nodeAt(1);
  const before = node.host.address;
  const stop = await site.watch();
  const underWay = await UnderWay.start(site, node);
  const since = machineNow();
  await node.host.move();
  expect(node.host.address).not.toBe(before);
  await site.tellPlaces();
  await underWay.allLost(since, seen);
  const next = await master.call(node, 'who', [], { waitForReady: true });
  expect(next.value, next.message).toMatchObject({ node: node.name, pid: node.pid });
  seen.call('master: the next call, which waits', next);
  const back = await node.call(master, 'who', [], { waitForReady: true });
  expect((back.value as { caller: string }).caller.endsWith(node.host.address)).toBe(true);
  seen.call('the node: its next call, from its new address', back);
  tellWeather(seen, await stop(about(node.host)));
};

/** Discovery is behind: what it says is the address of another node by now. */
const mistaken: Scenario = async (site, seen) => {
  const { master, driver } = site;
  const [node, other] = [site.nodeAt(1), site.nodeAt(2)];
  const stop = await site.watch();
  await site.tellPlaces({ [node.name]: { host: other.host.address } }, [master]);
  await node.reset();
  let end = await site.echo(master, node);
  // The connection may be there for a moment yet.
  while (end.code === undefined || end.code === LOST.code) end = await site.echo(master, node);
  const code = driver === 'tls' ? 'node_certificate_mismatch' : 'wrong_node';
  expect(end).toMatchObject({ code, maybeExecuted: false });
  seen.call('master: a call, to where the other node is', end);
  const waiting = site.patient(master, node);
  const since = machineNow();
  await site.tellPlaces();
  const right = await waiting;
  expect(right).toMatchObject({ value: 1 });
  seen.note('corrected: a call of the master that waits', 'answered', right.at - since);
  tellWeather(seen, await stop(about(node.host)));
};

/** The network falls into two halves, each of which goes on; then it is one again. */
const partition: Scenario = async (site, seen) => {
  const { master, lan, nodes, others } = site;
  const [here, there] = [nodes.slice(0, 2), nodes.slice(2)];
  const node = site.nodeAt(2);
  const stop = await site.watch();
  const underWay = await UnderWay.start(site, node);
  const since = machineNow();
  await lan.divide(there.map(({ host }) => host));
  await underWay.allLost(since, seen);
  // Each half by itself: who is in it answers, who is not is told apart.
  const names = nodes.map(({ name }) => name);
  for (const [title, half, from] of [
    ['the master', here, master],
    ['the other', there, node],
  ] as const) {
    const since = machineNow();
    const { outcomes } = await from.many<{ outcomes: { node: string; ok: boolean }[] }>(
      'multicall',
      names,
      'host',
      'who',
    );
    const good = outcomes.filter(({ ok }) => ok).map(({ node }) => node);
    expect(good).toEqual(half.map(({ name }) => name));
    seen.note(`multicall in the half of ${title}`, 'its own half answered, the other is bad', machineNow() - since);
  }
  const news = site.id('sbcast');
  const { good, bad } = await master.many<{ good: string[]; bad: string[] }>(
    'sbcast',
    others.map(({ name }) => name),
    'news',
    news,
  );
  expect([good, bad]).toEqual([[site.nodeAt(1).name], there.map(({ name }) => name)]);
  await healed(site, node, seen);
  tellWeather(
    seen,
    await stop((a, b) => here.some(({ host }) => host === a.host) !== here.some(({ host }) => host === b.host)),
  );
};

export const CUTS: Scenarios = {
  'remote socket: reset in the middle of a call': reset,
  'black hole: packets from and to a node vanish': silence((lan, host) => lan.swallow(host)),
  'link down: the cable of a node is pulled': silence((lan, host) => lan.unplug(host)),
  'one way: what a node sends vanishes': silence((lan, host) => lan.loseOneWay(host, 'from')),
  'one way: what is sent to a node vanishes': silence((lan, host) => lan.loseOneWay(host, 'to')),
  'partition: two halves, which heal': partition,
  'address: a node moves to another': moved,
  'address: discovery says that of another node': mistaken,
  'process: killed, and another one started': gone(
    (_lan, node) => node.kill(),
    async () => {},
  ),
  'power: a host loses it, and starts again': gone(
    (lan, node) => lan.lose(node.host, () => node.kill()),
    (lan, host) => lan.restart(host),
  ),
};
