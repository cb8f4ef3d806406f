/** A source that somebody else has written: whatever it throws, the node goes on, and ends. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Discovery } from '../../lib/discovery/discovery.js';
import { Cluster } from '../support/cluster.js';
import { recordOf, ToldDiscovery } from '../support/told-discovery.js';

const WHO = { module: 'who' };
const unhandled: unknown[] = [];
const onUnhandled = (reason: unknown): void => void unhandled.push(reason);

beforeEach(() => void process.on('unhandledRejection', onUnhandled));

/** Rejections that nobody handles are told of once a turn is over. */
afterEach(async () => {
  await new Promise((resolve) => setImmediate(resolve));
  process.off('unhandledRejection', onUnhandled);
  expect(unhandled.splice(0)).toEqual([]);
});

const throwing = (): never => {
  throw new Error('the registry is broken');
};
const rejecting = async (): Promise<never> => throwing();

type Faulty = 'watch' | 'register' | 'deregister' | 'close';

function faulty(verb: Faulty, how: () => unknown): ToldDiscovery {
  return Object.assign(new ToldDiscovery(), { [verb]: how }) as ToldDiscovery;
}

describe.each([
  ['throws', throwing],
  ['rejects', rejecting],
])('a source that %s', (_, how) => {
  it.each<Faulty>(['watch', 'register', 'deregister', 'close'])('at %s leaves the node as it is', async (verb) => {
    await using cluster = new Cluster();
    const discovery = faulty(verb, how);
    const b = await cluster.start('b', { discovery });
    b.register('who', { am: () => 'b' });
    const a = cluster.create('a', { listen: false });
    await expect(a.call(b.name, 'who', 'am')).resolves.toBe('b');
    await b.drain(500);
    expect(b.stats()).toMatchObject({ phase: 'closed' });
    expect(b.stats().counts.discovery_failed).toBeGreaterThan(0);
    expect(cluster.log.lines.join('\n')).toContain('the registry is broken');
  });

  it('at the last word is closed all the same', async () => {
    await using cluster = new Cluster();
    const discovery = faulty('deregister', how);
    const b = await cluster.start('b', { discovery });
    await b.stopListening();
    b.abort();
    await b.close();
    expect(discovery.closed).toBe(1);
  });

  it('at register keeps a node from listening that cannot do without', async () => {
    await using cluster = new Cluster();
    const discovery = faulty('register', how);
    discovery.tell();
    const b = cluster.create('b', { discovery, membership: { required: true } });
    await expect(b.listen()).rejects.toMatchObject({
      code: 'external_source_error',
      message: 'Discovery cannot tell of this node: the registry is broken',
    });
  });
});

describe('a source', () => {
  it('that is required and neither tells nor can be told fails once', async () => {
    await using cluster = new Cluster();
    const discovery = faulty('register', rejecting);
    const b = cluster.create('b', { discovery, membership: { required: true }, connectTimeout: 20 });
    await expect(b.listen()).rejects.toMatchObject({ message: expect.stringContaining('It has said nothing.') });
  });

  it('that goes on talking after the end is not heard', async () => {
    await using cluster = new Cluster();
    const discovery = new ToldDiscovery();
    const a = cluster.create('a', { listen: false, discovery });
    await a.close();
    discovery.fail('too late');
    discovery.tell('rubbish');
    discovery.tell({ name: 'b@127.0.0.1', locations: [{}] });
    expect([a.members(), a.stats().counts]).toEqual([[], {}]);
  });

  it('that has come back is no longer said to be away', async () => {
    await using cluster = new Cluster();
    const discovery = new ToldDiscovery();
    const a = cluster.create('a', { listen: false, discovery });
    discovery.fail('the registry is away');
    discovery.tell({ name: 'b@127.0.0.1', locations: [{}], modules: [] });
    await expect(a.call(WHO, 'who', 'am')).rejects.toMatchObject({
      code: 'node_down',
      message: expect.not.stringContaining('the registry is away'),
    });
  });

  it('D-07 that names a driver in two lines writes one line of the log', async () => {
    await using cluster = new Cluster();
    const discovery = new ToldDiscovery();
    const a = cluster.create('a', { listen: false, discovery });
    const hostile = 'x\nERROR all is lost';
    discovery.tell({ name: 'b@127.0.0.1', locations: [{ driver: hostile }] });
    discovery.tell({ name: 'c@127.0.0.1', locations: [{ driver: 'tcp', port: 1 }, { driver: hostile }] });
    await expect(a.call('c@127.0.0.1', 'who', 'am')).rejects.toMatchObject({
      message: expect.not.stringContaining('\n'),
    });
    expect(cluster.log.lines.filter((line) => line.includes('\n'))).toEqual([]);
    expect(cluster.log.lines.join(' ')).toContain('ERROR all is lost');
  });

  it('is not told of a node that has stopped listening, whatever can be called there then', async () => {
    await using cluster = new Cluster();
    const discovery = new ToldDiscovery();
    const b = await cluster.start('b', { discovery });
    b.register('early', { one: () => 1 });
    const stopping = b.stopListening();
    b.register('late', { one: () => 1 });
    await stopping;
    b.register('later', { one: () => 1 });
    await new Promise((resolve) => setImmediate(resolve));
    expect(discovery).toMatchObject({ registered: [{ modules: [] }], deregistered: 1 });
  });
});

describe('what a node makes of a source', () => {
  it('D-01 uses what the node was started with where the source gives an empty list', async () => {
    await using cluster = new Cluster();
    const b = await cluster.start('b');
    b.register('who', { am: () => 'b' });
    const source: Discovery = { resolve: async () => [] };
    const a = cluster.create('a', { listen: false, discovery: source, nodes: { [b.name]: b.endpoints()[0] ?? {} } });
    await expect(a.call(b.name, 'who', 'am')).resolves.toBe('b');
    await expect(a.call('c@127.0.0.1', 'who', 'am')).rejects.toMatchObject({
      code: 'external_source_error',
      message: expect.stringContaining('it gave an empty list'),
    });
  });

  it('D-07 takes the record of the node itself, and refuses another of its address', async () => {
    await using cluster = new Cluster();
    const discovery = new ToldDiscovery();
    const b = await cluster.start('b', { discovery });
    discovery.tell(recordOf(b), recordOf(b, { name: 'mirror@127.0.0.1' }));
    expect(b.members().map(({ name }) => name)).toEqual([b.name]);
  });

  it('tells every listener, whatever one of them throws', async () => {
    await using cluster = new Cluster();
    const discovery = new ToldDiscovery();
    const a = cluster.create('a', { listen: false, discovery });
    const heard: string[] = [];
    a.onMembership(throwing);
    const end = a.onMembership(({ type, member }) => heard.push(`${type} ${member.name}`));
    discovery.tell({ name: 'b@127.0.0.1', locations: [{}] }, { name: 'c@127.0.0.1', locations: [{}] });
    end();
    discovery.tell({ name: 'd@127.0.0.1', locations: [{}] });
    expect(heard).toEqual(['up b@127.0.0.1', 'up c@127.0.0.1']);
    expect(a.stats()).toMatchObject({ members: 1, counts: { listener_failed: 5 } });
  });
});

describe('before the first word of a source', () => {
  it('whoever wants a connection to a module waits for it', async () => {
    await using cluster = new Cluster();
    const b = await cluster.start('b');
    const discovery = new ToldDiscovery();
    const a = cluster.create('a', { listen: false, discovery });
    const connected = a.connect(WHO);
    discovery.tell(recordOf(b));
    await connected;
    expect(a.isConnected(WHO)).toBe(true);
  });

  it('and not for ever: nor past its own timeout, the end of the node, or that of an attempt', async () => {
    await using cluster = new Cluster({ virtual: { seed: 5 } });
    const silent: Discovery = new ToldDiscovery();
    const a = cluster.create('a', { listen: false, discovery: silent, connectTimeout: 300 });
    const [patient, hasty] = [a.connect(WHO), a.connect(WHO, { timeout: 100 })].map((one) =>
      one.catch((error: unknown) => error),
    );
    await cluster.clock?.advance(100);
    await expect(hasty).resolves.toMatchObject({ code: 'timeout' });
    await cluster.clock?.advance(200);
    await expect(patient).resolves.toMatchObject({ code: 'node_down' });
    const left = a.connect(WHO).catch((error: unknown) => error);
    void a.close();
    await expect(left).resolves.toMatchObject({ code: 'cancelled' });
  });
});
