/** Casts and messages to many nodes: whom they reach, what is said of the others, and when an `sbcast` ends. */
import { getEventListeners } from 'node:events';
import { describe, expect, it } from 'vitest';
import { MsgpackrCodec } from '../../lib/protocol/msgpack/msgpackr.codec.js';
import { DRIVERS } from '../support/cluster.js';
import { until } from '../support/door.js';
import { acquaint, crowd, FAKE_NODE, HELPER, SERVER, unharmed } from './many-support.js';

const MASTER = 'master@127.0.0.1';
const MESSAGE = 'this_is_a_test';

describe.each(DRIVERS)('over %s', (driver) => {
  it('the own node is a target like any other, without a connection', async () => {
    await using nodes = await crowd(0, { driver });
    const { master, ran } = nodes;
    expect(master.evalEverywhere(HELPER, 'whoami').accepted).toEqual([MASTER]);
    expect(master.abcast([MASTER, { node: MASTER, key: 1 }], SERVER, MESSAGE).accepted).toEqual([MASTER, MASTER]);
    expect(await master.sbcast(SERVER, MESSAGE)).toEqual({ good: [MASTER], bad: [] });
    expect(ran).toEqual(['whoami', MESSAGE, MESSAGE, MESSAGE].map((what) => `${MASTER} ${what}`));
    expect(master.stats().counts).toEqual({});
  });

  it('an empty list is nobody, and a target that is named twice gets it twice', async () => {
    await using nodes = await crowd(1, { driver });
    await acquaint(nodes);
    const { master, names, ran } = nodes;
    const [node = ''] = names;
    expect(master.abcast([], SERVER, MESSAGE)).toEqual({ accepted: [], refused: [] });
    expect(await master.sbcast([], SERVER, MESSAGE)).toEqual({ good: [], bad: [] });
    expect(await master.sbcast([node, node], SERVER, MESSAGE)).toEqual({ good: [node, node], bad: [] });
    expect(master.abcast([node, node], SERVER, MESSAGE).accepted).toEqual([node, node]);
    await until(() => ran.length === 4);
  });

  it('what is no node name is refused, and keeps nobody else from it', async () => {
    await using nodes = await crowd(1, { driver });
    const { master, ran } = nodes;
    const [node = ''] = nodes.names;
    const targets = ['nobody', node, '', MASTER];
    const report = { accepted: [node, MASTER], refused: ['nobody', ''] };
    expect(master.evalEverywhere(targets, HELPER, 'whoami')).toEqual(report);
    expect(master.abcast(targets, SERVER, MESSAGE)).toEqual(report);
    expect(await master.sbcast(targets, SERVER, MESSAGE)).toEqual({ good: report.accepted, bad: report.refused });
    expect(master.stats().counts.cast_not_accepted).toBe(4);
    await until(() => ran.length === 6);
  });

  it('a key that is none is refused, and keeps nobody else from it', async () => {
    await using nodes = await crowd(1, { driver });
    const { master, ran } = nodes;
    const [node = ''] = nodes.names;
    const targets = [node, { node, key: () => {} }, { node, key: 1 }];
    expect(master.evalEverywhere(targets, HELPER, 'whoami')).toEqual({ accepted: [node, node], refused: [node] });
    expect(await master.sbcast(targets, SERVER, MESSAGE)).toEqual({ good: [node, node], bad: [node] });
    await until(() => ran.length === 4);
  });

  it('a message that cannot travel is the caller’s to hear, and reaches nobody', async () => {
    await using nodes = await crowd(2, { driver });
    await acquaint(nodes);
    const { master, names } = nodes;
    const everyone = [...names, MASTER];
    const code = 'encode_error';
    expect(() => master.evalEverywhere(names, HELPER, 'echo', [() => {}])).toThrow(expect.objectContaining({ code }));
    expect(() => master.abcast([MASTER, ...names], SERVER, () => {})).toThrow(expect.objectContaining({ code }));
    expect(await master.sbcast(everyone, SERVER, () => {})).toEqual({ good: [], bad: everyone });
    await unharmed(master, names);
    expect(nodes.ran).toEqual(names.map((name) => `${name} whoami`));
    expect(master.stats().counts.cast_failed).toBeUndefined();
  });

  it('encodes the message once, though most are not connected yet', async () => {
    const msgpackr = new MsgpackrCodec();
    const encoded: unknown[] = [];
    const encode = (value: unknown): Uint8Array => (encoded.push(value), msgpackr.encode(value));
    const codec = { id: msgpackr.id, encode, decode: (bytes: Uint8Array) => msgpackr.decode(bytes) };
    await using nodes = await crowd(4, { driver, master: { codec } });
    const { master, names, ran } = nodes;
    await master.connect(names[0] ?? '');
    master.abcast([...names, ...names.map((node) => ({ node, key: 1 }))], SERVER, 'abcast');
    await until(() => ran.length === 8);
    expect(await master.sbcast(names, SERVER, 'sbcast')).toEqual({ good: names, bad: [] });
    expect(encoded).toEqual(['abcast', 'sbcast']);
  });

  it('a message that one of them does not take is refused there alone', async () => {
    await using nodes = await crowd(1, { driver });
    const narrow = await nodes.start('narrow', { maxMessageBytes: 1024 });
    const { master, names, ran } = nodes;
    const [node = ''] = names;
    const targets = [narrow.name, node];
    const message = 'x'.repeat(2000);
    expect(master.abcast(targets, SERVER, message).accepted).toEqual(targets);
    await until(() => ran.length === 1 && master.stats().counts.cast_dropped === 1);
    expect(master.abcast(targets, SERVER, message)).toEqual({ accepted: [node], refused: [narrow.name] });
    expect(await master.sbcast(targets, SERVER, message)).toEqual({ good: [node], bad: [narrow.name] });
    expect(narrow.stats().counts.protocol_error).toBeUndefined();
  });

  it('headers come along, and ordered casts of each target keep their order', async () => {
    await using nodes = await crowd(2, { driver });
    const { master, names, others } = nodes;
    const seen: string[] = [];
    const aTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
    for (const other of others) {
      other.registerEvent('ordered', async (message: number, { headers, caller }) => {
        if (message % 2 === 0) await aTurn();
        seen.push(`${other.name} ${message} ${headers?.get('trace')} ${caller.node}`);
      });
    }
    const options = { headers: { trace: 't1' }, ordered: true };
    for (const message of [0, 1, 2, 3]) master.abcast(names, 'ordered', message, options);
    await until(() => seen.length === 8);
    for (const name of names) {
      const own = seen.filter((entry) => entry.startsWith(name));
      expect(own).toEqual([0, 1, 2, 3].map((message) => `${name} ${message} t1 ${MASTER}`));
    }
  });

  it('sbcast is good once the handler has begun, whatever comes of it', async () => {
    await using nodes = await crowd(3, { driver });
    const { master, names, others } = nodes;
    others[0]?.registerEvent('risky', () => new Promise(() => {}));
    others[1]?.registerEvent('risky', () => {
      throw new Error('fatal');
    });
    others[2]?.registerEvent('risky', () => 'a value that nobody wants');
    master.registerEvent('risky', () => new Promise(() => {}));
    const everyone = [...names, MASTER];
    expect(await master.sbcast(everyone, 'risky', MESSAGE, { timeout: 5000 })).toEqual({ good: everyone, bad: [] });
    for (const node of [others[0], master]) expect(node?.stats()).toMatchObject({ runningCalls: 1, pendingCalls: 0 });
    await until(() => others[1]?.stats().counts.cast_failed === 1);
    await unharmed(master, names);
  });

  it('sbcast is bad where the name may not be called', async () => {
    await using nodes = await crowd(1, { driver });
    const { master, names, ran } = nodes;
    const strict = await nodes.start('strict', { moduleControl: 'whitelist', moduleList: ['other'] });
    strict.registerEvent(SERVER, () => ran.push('strict'));
    expect(await master.sbcast([strict.name, ...names], SERVER, MESSAGE)).toEqual({ good: names, bad: [strict.name] });
    expect(ran).toEqual(names.map((name) => `${name} ${MESSAGE}`));
  });

  it('sbcast given up is bad for all, and its signal is let go of', async () => {
    await using nodes = await crowd(2, { driver });
    const { master, names, ran } = nodes;
    const signal = AbortSignal.abort();
    expect(await master.sbcast([...names, MASTER], SERVER, MESSAGE, { signal })).toEqual({
      good: [],
      bad: [...names, MASTER],
    });
    expect(ran).toEqual([]);
    expect(master.stats().counts).toEqual({});
    const controller = new AbortController();
    const asked = master.sbcast([FAKE_NODE], SERVER, MESSAGE, { signal: controller.signal, waitForReady: true });
    controller.abort();
    expect(await asked).toEqual({ good: [], bad: [FAKE_NODE] });
    expect(getEventListeners(controller.signal, 'abort')).toEqual([]);
  });

  it('what is wrong with the message itself is the caller’s to hear', async () => {
    await using nodes = await crowd(1, { driver });
    const { master, names } = nodes;
    const long = 'n'.repeat(1025);
    const wrong = expect.objectContaining({ code: 'invalid_argument' });
    expect(() => master.abcast(names, long)).toThrow(wrong);
    expect(() => master.evalEverywhere(names, 'm'.repeat(256), 'fn')).toThrow(wrong);
    await expect(master.sbcast(names, long)).rejects.toEqual(wrong);
    await expect(master.sbcast(names, SERVER, MESSAGE, { timeout: 0 })).rejects.toEqual(wrong);
    expect(master.stats().counts.cast_not_accepted).toBeUndefined();
  });

  it('a closed node sends to nobody, and says so', async () => {
    await using nodes = await crowd(1, { driver });
    const { master, names } = nodes;
    await acquaint(nodes);
    await master.close();
    const everyone = [...names, MASTER];
    expect(master.abcast(everyone, SERVER, MESSAGE)).toEqual({ accepted: [], refused: everyone });
    expect(await master.sbcast(everyone, SERVER, MESSAGE)).toEqual({ good: [], bad: everyone });
    expect(nodes.ran).toEqual([]);
  });
});

describe('the deadline of an sbcast', () => {
  /** A master and a node that cannot be heard, on a clock of its own. */
  async function unheard(sbcastTimeout: number) {
    const nodes = await crowd(1, { virtual: { seed: 1 }, master: { sbcastTimeout, callTimeout: 9000 } });
    await acquaint(nodes);
    for (const link of nodes.network.links) link.hold();
    const endsAt = async (asked: Promise<unknown>): Promise<number | undefined> => {
      expect(await asked).toEqual({ good: [MASTER], bad: nodes.names });
      return nodes.clock?.now();
    };
    return Object.assign(nodes, { endsAt });
  }

  it.each([
    ['is the node’s own', {}, 400],
    ['is what the caller says', { timeout: 800 }, 800],
    // As JavaScript writes it: the types forbid it.
    ['is the node’s own where the caller says nothing', { timeout: undefined } as object, 400],
  ])('%s', async (_what, options, ms) => {
    await using nodes = await unheard(400);
    const ended = nodes.endsAt(nodes.master.sbcast([MASTER, ...nodes.names], SERVER, MESSAGE, options));
    await nodes.clock?.advance(2000);
    expect(await ended).toBe(ms);
  });
});
