/** `evalEverywhere`, `abcast` and `sbcast`, as gen_rpc's own suites try them. */
import { describe, expect, it } from 'vitest';
import { DRIVERS } from '../support/cluster.js';
import { until } from '../support/door.js';
import { acquaint, AIMS, crowd, FAKE_NODE, HELPER, SERVER, unharmed } from './many-support.js';

const MASTER = 'master@127.0.0.1';
const MESSAGE = 'this_is_a_test';

describe.each(DRIVERS)('over %s', (driver) => {
  describe.each(AIMS)('to %s', (_how, aim) => {
    it('eval_everywhere_mfa_no_node', async () => {
      await using nodes = await crowd(1, { driver });
      await acquaint(nodes);
      expect(nodes.master.evalEverywhere([].map(aim), HELPER, 'whoami')).toEqual({ accepted: [], refused: [] });
      await unharmed(nodes.master, nodes.names);
      expect(nodes.ran).toEqual(nodes.names.map((name) => `${name} whoami`));
    });

    it('eval_everywhere_mfa_one_node', async () => {
      await using nodes = await crowd(2, { driver });
      const [node = ''] = nodes.names;
      expect(nodes.master.evalEverywhere([node].map(aim), HELPER, 'echo', ['evalmfa1'])).toEqual({
        accepted: [node],
        refused: [],
      });
      await until(() => nodes.ran.length > 0);
      expect(nodes.ran).toEqual([`${node} echo`]);
      expect(nodes.master.nodes()).toEqual([node]);
    });

    it('eval_everywhere_mfa_multiple_nodes', async () => {
      await using nodes = await crowd(3, { driver });
      const targets = [...nodes.names, MASTER];
      const report = nodes.master.evalEverywhere(targets.map(aim), HELPER, 'whoami');
      expect(report).toEqual({ accepted: targets, refused: [] });
      await until(() => nodes.ran.length === 4);
      expect(nodes.ran.toSorted()).toEqual(targets.map((name) => `${name} whoami`).toSorted());
      await unharmed(nodes.master, nodes.names);
    });

    it.each([
      ['eval_everywhere_mfa_exit_on_nodes', 'exit', 1],
      ['eval_everywhere_mfa_throw_on_nodes', 'throw', undefined],
    ])('%s', async (_title, fn, accidents) => {
      await using nodes = await crowd(2, { driver });
      expect(nodes.master.evalEverywhere(nodes.names.map(aim), HELPER, fn).accepted).toEqual(nodes.names);
      await until(() => nodes.ran.length === 2);
      for (const { name } of nodes.others) expect(nodes.ran).toContain(`${name} ${fn}`);
      await unharmed(nodes.master, nodes.names);
      for (const node of nodes.others) {
        expect(node.stats().counts.cast_failed).toBe(1);
        expect(node.stats().counts.handler_failed).toBe(accidents);
        expect(node.stats().runningCalls).toBe(0);
      }
    });

    it('eval_everywhere_mfa_timeout_on_nodes', async () => {
      await using nodes = await crowd(2, { driver });
      nodes.master.evalEverywhere(nodes.names.map(aim), HELPER, 'never');
      await until(() => nodes.ran.length === 2);
      const late = await nodes.master.multicall(nodes.names, HELPER, 'never', [], { timeout: 300 });
      expect(late.badNodes).toEqual(nodes.names);
      await until(() => nodes.stopped.length === 2);
      // No deadline stops a cast, and nobody waits for it.
      for (const node of nodes.others) expect(node.stats()).toMatchObject({ runningCalls: 2 });
      expect(nodes.master.stats().pendingCalls).toBe(0);
      await unharmed(nodes.master, nodes.names);
    });

    it('abcast', async () => {
      await using nodes = await crowd(2, { driver });
      const [node = ''] = nodes.names;
      const [slave] = nodes.others;
      expect(slave?.abcast([MASTER].map(aim), SERVER, MESSAGE)).toEqual({ accepted: [MASTER], refused: [] });
      await until(() => nodes.ran.length > 0);
      expect(nodes.ran.splice(0)).toEqual([`${MASTER} ${MESSAGE}`]);
      expect(slave?.nodes()).toEqual([MASTER]);
      expect(slave?.abcast(SERVER, MESSAGE)).toEqual({ accepted: [node, MASTER], refused: [] });
      await until(() => nodes.ran.length === 2);
      expect(nodes.ran.toSorted()).toEqual([`${MASTER} ${MESSAGE}`, `${node} ${MESSAGE}`]);
    });

    it('abcast_with_bad_server', async () => {
      await using nodes = await crowd(1, { driver, options: { reconnect: { min: 60_000, max: 60_000 } } });
      const [slave] = nodes.others;
      const targets = [MASTER, FAKE_NODE].map(aim);
      // Nobody knows yet that there is no such node.
      expect(slave?.abcast(targets, SERVER, MESSAGE)).toEqual({ accepted: [MASTER, FAKE_NODE], refused: [] });
      await until(() => nodes.ran.length === 1 && slave?.stats().counts.cast_dropped === 1);
      expect(slave?.abcast(targets, SERVER, MESSAGE)).toEqual({ accepted: [MASTER], refused: [FAKE_NODE] });
      expect(slave?.stats().counts.cast_not_accepted).toBe(1);
      await until(() => nodes.ran.length === 2);
      expect(nodes.ran).toEqual([`${MASTER} ${MESSAGE}`, `${MASTER} ${MESSAGE}`]);
    });

    it('abcast_with_unregistered_name', async () => {
      await using nodes = await crowd(2, { driver });
      const { master, names } = nodes;
      expect(master.abcast([...names, MASTER].map(aim), 'unregistered', MESSAGE).refused).toEqual([]);
      await until(() => [master, ...nodes.others].every((node) => node.stats().counts.cast_failed === 1));
      expect(nodes.ran).toEqual([]);
      await unharmed(master, names);
    });

    it('sbcast', async () => {
      await using nodes = await crowd(1, { driver });
      const bare = await nodes.start('bare');
      expect(await bare.sbcast([MASTER].map(aim), SERVER, MESSAGE)).toEqual({ good: [MASTER], bad: [] });
      expect(nodes.ran.splice(0)).toEqual([`${MASTER} ${MESSAGE}`]);
      await bare.connect(MASTER);
      expect(await bare.sbcast(SERVER, MESSAGE)).toEqual({ good: [MASTER], bad: [bare.name] });
      expect(nodes.ran.splice(0)).toEqual([`${MASTER} ${MESSAGE}`]);
      const [node = ''] = nodes.names;
      const targets = [bare.name, node, MASTER].map(aim);
      expect(await bare.sbcast(targets, SERVER, MESSAGE)).toEqual({ good: [node, MASTER], bad: [bare.name] });
    });

    it('sbcast_with_bad_server', async () => {
      await using nodes = await crowd(1, { driver, options: { sbcastTimeout: 500 } });
      const [slave] = nodes.others;
      const report = await slave?.sbcast([MASTER, FAKE_NODE].map(aim), SERVER, MESSAGE);
      expect(report).toEqual({ good: [MASTER], bad: [FAKE_NODE] });
      expect(nodes.ran).toEqual([`${MASTER} ${MESSAGE}`]);
    });
  });
});
