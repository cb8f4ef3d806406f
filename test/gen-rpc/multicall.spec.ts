/** `multicall`: one call to many nodes, an outcome for each of them, one deadline for all. */
import type { NodeTarget } from '../../lib/client/target.js';
import { describe, expect, it } from 'vitest';
import { MsgpackrCodec } from '../../lib/protocol/msgpack/msgpackr.codec.js';
import { DRIVERS } from '../support/cluster.js';
import { until } from '../support/door.js';
import { acquaint, AIMS, crowd, FAKE_NODE, HELPER, VERSION, verdicts } from './many-support.js';

const MASTER = 'master@127.0.0.1';

describe.each(DRIVERS)('over %s', (driver) => {
  describe.each(AIMS)('to %s', (_how, aim) => {
    it('multicall_local_node', async () => {
      await using nodes = await crowd(0, { driver });
      const { master } = nodes;
      expect(await master.multicall(HELPER, 'whoami')).toEqual({
        outcomes: [{ node: MASTER, ok: true, value: MASTER, ms: expect.any(Number) as number }],
        results: [MASTER],
        badNodes: [],
      });
      expect((await master.multicall([aim(MASTER, 0)], HELPER, 'whoami')).results).toEqual([MASTER]);
      expect(master.nodes()).toEqual([]);
      expect(master.stats().counts).toEqual({});
    });

    it('multicall_multiple_nodes', async () => {
      await using nodes = await crowd(3, { driver });
      const { master, names } = nodes;
      const targets = names.map(aim);
      const { outcomes, results, badNodes } = await master.multicall(targets, HELPER, 'whoami');
      const asked = targets.map((target) => (typeof target === 'string' ? { node: target } : (target as NodeTarget)));
      const ms = expect.any(Number) as number;
      expect(outcomes).toEqual(asked.map((one) => ({ ...one, ok: true, value: one.node, ms })));
      expect(results).toEqual(names);
      expect(badNodes).toEqual([]);
      expect(master.nodes().toSorted()).toEqual(names);
      expect(master.stats()).toMatchObject({ openConnections: 3, pendingCalls: 0 });
    });

    it('multicall_multiple_nodes_and_local', async () => {
      await using nodes = await crowd(2, { driver });
      const { master, names } = nodes;
      const named = await master.multicall([...names.map(aim), MASTER], HELPER, 'whoami');
      expect(named.results).toEqual([...names, MASTER]);
      const everyone = await master.multicall(HELPER, 'whoami');
      expect(everyone.outcomes.map(({ node }) => node)).toEqual([MASTER, ...master.nodes()]);
      expect(new Set(everyone.results)).toEqual(new Set([MASTER, ...names]));
      expect(everyone.badNodes).toEqual([]);
      expect(master.nodes()).not.toContain(MASTER);
    });

    it('multicall_with_timeout', async () => {
      await using nodes = await crowd(2, { driver });
      const { master, names } = nodes;
      const targets = names.map(aim);
      const intime = await master.multicall(targets, HELPER, 'whoami', [], { timeout: 5000 });
      expect(intime.results).toEqual(names);
      const late = await master.multicall(targets, HELPER, 'never', [], { timeout: 50 });
      expect(late.results).toEqual([]);
      expect(late.badNodes).toEqual(names);
      expect(verdicts(late.outcomes)).toEqual(['timeout', 'timeout']);
      expect(master.nodes().toSorted()).toEqual(names);
      expect(master.stats()).toMatchObject({ pendingCalls: 0, openConnections: 2 });
      await until(() => nodes.stopped.length === 2);
    });

    it('multicall_with_bad_node', async () => {
      await using nodes = await crowd(2, { driver });
      const { master, names } = nodes;
      const [first = '', second = ''] = names;
      const targets = [first, FAKE_NODE, second].map(aim);
      const { outcomes, results, badNodes } = await master.multicall(targets, HELPER, 'whoami', [], {
        timeout: 10_000,
      });
      expect(verdicts(outcomes)).toEqual(['ok', 'node_down', 'ok']);
      expect(outcomes[1]).toMatchObject({ error: { family: 'badrpc', maybeExecuted: false } });
      expect(results).toEqual(names);
      expect(badNodes).toEqual([FAKE_NODE]);
      expect(master.nodes().toSorted()).toEqual(names);
    });

    it('multicall_with_good_module_version', async () => {
      await using nodes = await crowd(2, { driver });
      const { master, names } = nodes;
      const module = { module: HELPER, version: VERSION };
      const { results, badNodes } = await master.multicall(names.map(aim), module, 'stub_function');
      expect(results).toEqual(['stub_function', 'stub_function']);
      expect(badNodes).toEqual([]);
      expect((await master.multicall({ ...module, version: '^1.0.0' }, 'stub_function')).results).toHaveLength(3);
    });

    it('multicall_with_bad_module_version', async () => {
      await using nodes = await crowd(2, { driver });
      const { master, names, ran } = nodes;
      const module = { module: HELPER, version: 'X.Y.Z' };
      const { outcomes, results, badNodes } = await master.multicall(
        [...names, MASTER].map(aim),
        module,
        'stub_function',
      );
      expect(verdicts(outcomes)).toEqual(['incompatible', 'incompatible', 'incompatible']);
      expect(results).toEqual([]);
      expect(badNodes).toEqual([...names, MASTER]);
      expect(master.nodes().toSorted()).toEqual(names);
      expect(ran).toEqual([]);
    });
  });

  it('a key takes the lane that a call with it takes', async () => {
    await using nodes = await crowd(1, { driver });
    const { master, names } = nodes;
    const [node = ''] = names;
    const keyed = [1, 2, 3].map((key) => ({ node, key }));
    await Promise.all([node, ...keyed].map((target) => master.connect(target)));
    const { dialled, connected } = master.stats().counts;
    const { outcomes } = await master.multicall([...keyed, node, ...keyed], HELPER, 'whoami');
    expect(outcomes.map(({ key }) => key)).toEqual([1, 2, 3, undefined, 1, 2, 3]);
    expect(outcomes.map((outcome) => 'key' in outcome)).toEqual([true, true, true, false, true, true, true]);
    expect(master.stats().counts).toEqual({ dialled, connected });
    expect(connected).toBeGreaterThan(1);
  });

  it('without targets: everyone connected once, and never by a key', async () => {
    await using nodes = await crowd(2, { driver });
    const { master, names, ran } = nodes;
    const [node = ''] = names;
    await Promise.all([1, 2, 3].map((key) => master.connect({ node, key })));
    const { outcomes } = await master.multicall(HELPER, 'whoami');
    expect(outcomes.map((outcome) => [outcome.node, 'key' in outcome])).toEqual([
      [MASTER, false],
      [node, false],
    ]);
    expect(ran).toEqual([`${MASTER} whoami`, `${node} whoami`]);
  });

  it('an empty list is nobody, not everybody', async () => {
    await using nodes = await crowd(1, { driver });
    await acquaint(nodes);
    expect(await nodes.master.multicall([], HELPER, 'whoami')).toEqual({ outcomes: [], results: [], badNodes: [] });
    expect(nodes.ran).toEqual([]);
  });

  it('a target that is named twice is called twice', async () => {
    await using nodes = await crowd(1, { driver });
    const { master, names, ran } = nodes;
    const [node = ''] = names;
    const { results } = await master.multicall([node, MASTER, node, MASTER], HELPER, 'whoami');
    expect(results).toEqual([node, MASTER, node, MASTER]);
    expect(ran).toHaveLength(4);
    expect(master.stats().counts).toEqual({ dialled: 1, connected: 1 });
  });

  it('a function without a value gives one result all the same', async () => {
    await using nodes = await crowd(2, { driver });
    const { outcomes, results } = await nodes.master.multicall(nodes.names, HELPER, 'nothing');
    expect(verdicts(outcomes)).toEqual(['ok', 'ok']);
    expect(results).toEqual([undefined, undefined]);
  });

  it('what is no node name fails alone', async () => {
    await using nodes = await crowd(1, { driver });
    const [node = ''] = nodes.names;
    const { outcomes, badNodes } = await nodes.master.multicall(['nobody', node, '', 'a@b\n'], HELPER, 'whoami');
    expect(verdicts(outcomes)).toEqual(['invalid_argument', 'ok', 'invalid_argument', 'invalid_argument']);
    expect(badNodes).toEqual(['nobody', '', 'a@b\n']);
  });

  it('a key that is none fails alone', async () => {
    await using nodes = await crowd(1, { driver });
    const [node = ''] = nodes.names;
    const targets = [{ node, key: () => {} }, node];
    const { outcomes } = await nodes.master.multicall(targets, HELPER, 'whoami');
    expect(verdicts(outcomes)).toEqual(['encode_error', 'ok']);
  });

  it('arguments that cannot travel reach nobody', async () => {
    await using nodes = await crowd(2, { driver });
    await acquaint(nodes);
    const { outcomes } = await nodes.master.multicall([...nodes.names, MASTER], HELPER, 'echo', [() => {}]);
    expect(verdicts(outcomes)).toEqual(['encode_error', 'encode_error', 'encode_error']);
    expect(nodes.ran).toEqual([]);
    expect(nodes.master.stats().pendingCalls).toBe(0);
  });

  it('the own node keeps its own rules', async () => {
    await using nodes = await crowd(1, { driver, master: { moduleControl: 'blacklist', moduleList: [HELPER] } });
    await acquaint(nodes);
    const { outcomes } = await nodes.master.multicall(HELPER, 'whoami');
    expect(verdicts(outcomes)).toEqual(['unauthorized', 'ok']);
  });

  it('encodes the arguments once, however many they go to', async () => {
    const msgpackr = new MsgpackrCodec();
    const encoded: unknown[] = [];
    const encode = (value: unknown): Uint8Array => (encoded.push(value), msgpackr.encode(value));
    const codec = { id: msgpackr.id, encode, decode: (bytes: Uint8Array) => msgpackr.decode(bytes) };
    await using nodes = await crowd(5, { driver, master: { codec } });
    const keyed = nodes.names.map((node) => ({ node, key: 'k' }));
    const args = [{ of: 'many' }];
    const { results } = await nodes.master.multicall([...nodes.names, ...keyed], HELPER, 'echo', args);
    expect(results).toEqual(Array.from({ length: 10 }, () => ({ of: 'many' })));
    expect(encoded).toEqual([args]);
  });

  it('bytes that are shared are deflated for those who want them so', async () => {
    await using nodes = await crowd(2, { driver, master: { compression: { threshold: 100 } } });
    const compressing = await nodes.start('compressing', { compression: { threshold: 100 } });
    compressing.register(HELPER, { echo: ([value]: [unknown]) => value });
    const [first = '', second = ''] = nodes.names;
    const text = 'again and '.repeat(1000);
    const { results } = await nodes.master.multicall([first, compressing.name, second], HELPER, 'echo', [text]);
    expect(results).toEqual([text, text, text]);
  });

  it('a message that one of them does not take fails there alone', async () => {
    await using nodes = await crowd(2, { driver });
    const narrow = await nodes.start('narrow', { maxMessageBytes: 1024 });
    narrow.register(HELPER, { echo: () => nodes.ran.push('narrow') });
    const [first = '', second = ''] = nodes.names;
    const bytes = Buffer.alloc(2000, 7);
    const { outcomes } = await nodes.master.multicall([first, narrow.name, second], HELPER, 'echo', [bytes]);
    expect(verdicts(outcomes)).toEqual(['ok', 'message_too_large', 'ok']);
    expect(outcomes[1]).toMatchObject({ error: { maybeExecuted: false, details: { limit: 1024 } } });
    expect(nodes.ran).not.toContain('narrow');
  });
});
