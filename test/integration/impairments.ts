/** Networks that are bad, but there: nothing may be lost, run twice or be taken for dead, however slow it gets. */
import { expect } from 'vitest';
import { DEFAULT_KEEPALIVE } from '../../lib/node/option-groups.js';
import type { End, HostNode } from './host-node.js';
import type { Scenario, Scenarios } from './scenarios.js';
import { machineNow, SILENCE_MS, type Site } from './site.js';
import { about, slowestOf, tellWeather } from './weather.js';

const CALLS = 200;
const ITEMS = { every: 5, count: 300 };
const MEGABITS = 2;
/** Takes longer on such a link than a peer may be silent. */
const LARGE_BYTES = 640 * 1024;

/** Some packets are lost, both ways: TCP sends them again, and connections live. */
const lossy: Scenario = async (site, seen) => {
  // A packet that is lost three times comes later than nodes wait here. By default they wait long enough.
  await site.reboot({ keepalive: DEFAULT_KEEPALIVE });
  const { master, lan } = site;
  const node = site.nodeAt(1);
  const stop = await site.watch();
  await lan.loseSome(node.host);
  const since = machineNow();
  const download = master.stream(node, [site.id('download'), ITEMS.every, ITEMS.count]);
  const ends = await Promise.all([series(site, master, node), series(site, node, master)]);
  expect(ends.flat().filter(({ value }) => value !== 1)).toEqual([]);
  const read = await download;
  expect(read).toMatchObject({ items: ITEMS.count, inOrder: true });
  const weather = await stop(about(node.host));
  expect(weather.affected.filter(({ code }) => code !== undefined)).toEqual([]);
  const { sent, lost } = await lan.packets(node.host);
  expect(lost).toBeGreaterThan(0);
  seen.tell('packets', 'lost', `${((100 * lost) / sent).toFixed(1)} %`);
  seen.note(`${CALLS} calls each way, slowest`, 'answered, every one', slowestOf(ends.flat()));
  seen.note(`master: a stream of ${ITEMS.count} items`, 'whole', read.at - since);
  seen.note('small calls from and to the node, slowest', 'answered, every one', slowestOf(weather.affected));
  tellWeather(seen, weather);
};

/** Calls, one after the other. */
async function series(site: Site, from: HostNode, to: HostNode): Promise<End[]> {
  const ends: End[] = [];
  while (ends.length < CALLS) ends.push(await site.echo(from, to));
  return ends;
}

/** A link that is full: what is large takes its time, and nobody takes that for death. */
const slow: Scenario = async (site, seen) => {
  const { master, lan } = site;
  const node = site.nodeAt(1);
  const stop = await site.watch();
  await lan.limit(node.host, MEGABITS);
  const large = [
    master.call(node, 'give', [site.id('down'), LARGE_BYTES]),
    node.call(master, 'give', [site.id('up'), LARGE_BYTES]),
  ];
  const [down, up] = await Promise.all(large);
  expect(down).toMatchObject({ value: LARGE_BYTES });
  expect(up).toMatchObject({ value: LARGE_BYTES });
  // Or there was nothing to be patient about.
  expect(Math.max(down?.ms ?? 0, up?.ms ?? 0)).toBeGreaterThan(SILENCE_MS);
  const weather = await stop(about(node.host));
  expect(weather.affected.filter(({ code }) => code !== undefined)).toEqual([]);
  seen.note(`master: ${LARGE_BYTES / 1024} KiB from the node`, 'whole', down?.ms ?? NaN);
  seen.note(`the node: ${LARGE_BYTES / 1024} KiB from the master`, 'whole', up?.ms ?? NaN);
  seen.note('small calls from and to the node meanwhile, slowest', 'answered, every one', slowestOf(weather.affected));
  tellWeather(seen, weather);
};

export const IMPAIRMENTS: Scenarios = {
  [`slow link: ${MEGABITS} Mbit/s to and from a node`]: slow,
  'loss: some packets from and to a node': lossy,
};
