/** The verbs from one to many, where nothing is cut: every node is a machine of its own. */
import { expect } from 'vitest';
import type { CastReport, SbcastResult } from '../../lib/node/broadcasts.js';
import type { Multicall } from './host-node.js';
import type { Scenario, Scenarios } from './scenarios.js';
import { wordsOf } from './seen.js';
import { slowestOf } from './weather.js';

interface Who {
  readonly node: string;
  readonly pid: number;
  /** The network that it is in. */
  readonly network: string;
  /** Address of the caller. */
  readonly caller: string;
}

const NOBODY = 'nobody@nowhere.lan';

const call: Scenario = async (site, seen) => {
  const { nodes, family } = site;
  const networks = new Set<string>();
  let slowest = 0;
  for (const from of nodes) {
    for (const to of nodes) {
      if (from === to) continue;
      const end = await from.call(to, 'who', []);
      const who = end.value as Who;
      const caller = family === 4 ? [from.host.address, `::ffff:${from.host.address}`] : [from.host.address];
      expect(who, end.message).toMatchObject({ node: to.name, pid: to.pid });
      expect(caller).toContain(who.caller);
      networks.add(who.network);
      slowest = Math.max(slowest, end.ms);
    }
  }
  expect(networks.size).toBe(nodes.length);
  seen.note('every node to every other, slowest', 'answered', slowest);
};

const multicall: Scenario = async ({ master, others, nodes }, seen) => {
  const names = others.map(({ name }) => name);
  const named = await master.many<Multicall>('multicall', names, 'host', 'who');
  expect(named.outcomes.map(({ node }) => node)).toEqual(names);
  expect(named.results).toMatchObject(others.map(({ name, pid }) => ({ node: name, pid })));
  const everyone = await master.many<Multicall>('multicall', 'host', 'who');
  expect(everyone.badNodes).toEqual([]);
  expect(new Set(everyone.outcomes.map(({ node }) => node))).toEqual(new Set(nodes.map(({ name }) => name)));
  seen.note('master to all, slowest', 'answered', slowestOf(everyone.outcomes));
};

const fromEveryone: Scenario = async ({ master, others, nodes }, seen) => {
  const all = nodes.map(({ name }) => name);
  const ends = await Promise.all(others.map((node) => master.relayed(node, all)));
  expect(ends.map(({ value }) => value)).toEqual(others.map(() => ({ from: all, badNodes: [] })));
  for (const node of others) {
    const { value } = await master.relayed(node, null);
    expect(new Set((value as { from: string[] }).from)).toEqual(new Set(all));
  }
  seen.note('every node to all others, slowest', 'answered', Math.max(...ends.map(({ ms }) => ms)));
};

const withBadNode: Scenario = async (site, seen) => {
  const { master, others } = site;
  const names = [NOBODY, ...others.map(({ name }) => name)];
  await site.tellPlaces({ [NOBODY]: { host: master.host.address, port: 9 } }, [master]);
  const { outcomes, badNodes } = await master.many<Multicall>('multicall', names, 'host', 'who');
  expect(badNodes).toEqual([NOBODY]);
  const [bad] = outcomes;
  expect(bad).toMatchObject({ ok: false, code: 'node_down', maybeExecuted: false });
  seen.note('master, of the node that is not there', wordsOf(bad ?? {}), bad?.ms ?? NaN);
  seen.note('master, of all others, slowest', 'answered', slowestOf(outcomes.slice(1)));
};

const broadcasts: Scenario = async (site, seen) => {
  const { master, others } = site;
  const names = others.map(({ name }) => name);
  const verbs = ['abcast', 'sbcast', 'evalEverywhere'] as const;
  for (const verb of verbs) {
    const id = site.id(verb);
    const since = performance.now();
    if (verb === 'sbcast') {
      const { good, bad } = await master.many<SbcastResult>(verb, [...names, NOBODY], 'news', id);
      expect({ good, bad }).toEqual({ good: names, bad: [NOBODY] });
    } else if (verb === 'abcast') {
      expect((await master.many<CastReport>(verb, names, 'news', id)).refused).toEqual([]);
    } else {
      expect((await master.many<CastReport>(verb, names, 'host', 'everywhere', [id])).refused).toEqual([]);
    }
    await Promise.all(others.map((node) => node.began(`${id} ${node.name}`)));
    seen.note(`${verb}, until it ran on all nodes`, 'ran once on each', performance.now() - since);
  }
};

export const VERBS: Scenarios = {
  call,
  multicall,
  'multicall from every node to all others': fromEveryone,
  'multicall with a node that is not there': withBadNode,
  'abcast, sbcast, eval_everywhere': broadcasts,
};
