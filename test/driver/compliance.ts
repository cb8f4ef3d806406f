/** What every driver promises, as one suite: run for each of them. */
import { describe, expect, it } from 'vitest';
import type { Channel, ChannelEvents, Driver, Endpoint, Listener } from '../../lib/driver/driver.js';
import { GenRpcError } from '../../lib/protocol/errors.js';
import { until } from '../support/door.js';

/** One driver, and how the wire under it is blocked. */
export interface Rig {
  readonly driver: Driver;
  /** Where a test may listen. */
  readonly endpoint: Endpoint;
  /** From here on nothing is taken off the wire at the accepting end, before its owner is named, until the returned function runs. */
  block(): () => void;
}

export interface ComplianceSettings {
  readonly name: string;
  readonly make: () => Rig;
  /** Titles of cases that a line of the fault list asks for begin with its id. */
  readonly ids?: { readonly portInUse?: string };
}

const ABORTED = new GenRpcError('protocol_error', 'as the owner said');

/** An owner that remembers what it was told. */
class Owner implements ChannelEvents {
  readonly chunks: Buffer[] = [];
  readonly reasons: GenRpcError[] = [];
  drains = 0;

  get text(): string {
    return Buffer.concat(this.chunks).toString();
  }

  get size(): number {
    return this.chunks.reduce((size, chunk) => size + chunk.length, 0);
  }

  data(bytes: Buffer): void {
    if (this.reasons.length > 0) throw new Error('bytes after the end');
    this.chunks.push(Buffer.from(bytes));
  }

  drain(): void {
    this.drains += 1;
  }

  closed(reason: GenRpcError): void {
    this.reasons.push(reason);
  }
}

/** A listener and one channel, both ends of it without an owner. */
class Pair {
  readonly atDialled = new Owner();
  readonly atAccepted = new Owner();

  private constructor(
    readonly rig: Rig,
    readonly listener: Listener,
    readonly dialled: Channel,
    readonly accepted: Channel,
  ) {}

  static async of(rig: Rig): Promise<Pair> {
    const accepted: Channel[] = [];
    const listener = await rig.driver.listen(rig.endpoint, (channel) => accepted.push(channel), unexpected);
    const dialled = await rig.driver.connect(listener.address, new AbortController().signal);
    await until(() => accepted.length === 1);
    const [channel] = accepted;
    if (channel === undefined) throw new Error('nothing was accepted');
    return new Pair(rig, listener, dialled, channel);
  }

  static async opened(rig: Rig): Promise<Pair> {
    const pair = await Pair.of(rig);
    pair.dialled.open(pair.atDialled);
    pair.accepted.open(pair.atAccepted);
    return pair;
  }

  /** Both owners have heard of the end, and some turns later no more than once. */
  async over(): Promise<void> {
    await until(() => this.atDialled.reasons.length > 0 && this.atAccepted.reasons.length > 0);
    await turns(20);
    expect([this.atDialled.reasons.length, this.atAccepted.reasons.length]).toEqual([1, 1]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.dialled.abort(ABORTED);
    this.accepted.abort(ABORTED);
    await this.listener.close();
  }
}

export function driverCompliance({ name, make, ids = {} }: ComplianceSettings): void {
  describe(`driver ${name}: connect and listen`, () => connecting(make, ids.portInUse));
  describe(`driver ${name}: bytes`, () => carrying(make));
  describe(`driver ${name}: backpressure`, () => holdingBack(make));
  describe(`driver ${name}: the end`, () => ending(make));
}

function connecting(make: () => Rig, portInUse: string | undefined): void {
  it("listens where it says, and both ends learn the other's address", async () => {
    await using pair = await Pair.of(make());
    const { address } = pair.listener;
    expect(address.host).toBe(pair.rig.endpoint.host);
    expect(address.port).toBeGreaterThan(0);
    expect(pair.dialled.remoteAddress).toBe(address.host);
    expect(pair.accepted.remoteAddress).toMatch(/^[0-9a-f.:]+$/);
  });

  it("fails with node_down and the system's code where nobody listens", async () => {
    const { driver, endpoint } = make();
    const listener = await driver.listen(endpoint, unexpected, unexpected);
    const { address } = listener;
    await listener.close();
    const attempt = driver.connect(address, new AbortController().signal);
    await expect(attempt).rejects.toMatchObject({ code: 'node_down', details: { cause: 'ECONNREFUSED', ...address } });
  });

  it('gives an attempt up when its signal aborts, and leaves no channel behind', async () => {
    const { driver, endpoint } = make();
    const accepted: Channel[] = [];
    const listener = await driver.listen(endpoint, (channel) => accepted.push(channel), unexpected);
    const giveUp = new AbortController();
    const attempt = driver.connect(listener.address, giveUp.signal);
    giveUp.abort();
    await expect(attempt).rejects.toMatchObject({ code: 'node_down', details: { cause: 'ETIMEDOUT' } });
    const owners = accepted.map((channel) => openWith(channel, new Owner()));
    await until(() => owners.every(({ reasons }) => reasons.length === 1));
    await listener.close();
  });

  it('does not even begin when its signal has aborted before', async () => {
    const { driver, endpoint } = make();
    const listener = await driver.listen(endpoint, unexpected, unexpected);
    const attempt = driver.connect(listener.address, AbortSignal.abort());
    await expect(attempt).rejects.toMatchObject({ code: 'node_down', details: { cause: 'ETIMEDOUT' } });
    await turns(20);
    await listener.close();
  });

  it(`${portInUse === undefined ? '' : `${portInUse} `}names host and port when the port is in use`, async () => {
    const { driver, endpoint } = make();
    const listener = await driver.listen(endpoint, unexpected, unexpected);
    const { host, port } = listener.address;
    const second = driver.listen(listener.address, unexpected, unexpected);
    await expect(second).rejects.toMatchObject({
      code: 'EADDRINUSE',
      message: expect.stringContaining(`${host}:${port}`),
    });
    await listener.close();
    await (await driver.listen(listener.address, unexpected, unexpected)).close();
  });

  it('accepts no more once the listener is closed; channels live on', async () => {
    await using pair = await Pair.opened(make());
    const closed = Promise.all([pair.listener.close(), pair.listener.close()]);
    const late = pair.rig.driver.connect(pair.listener.address, new AbortController().signal);
    await expect(late).rejects.toMatchObject({ code: 'node_down' });
    pair.dialled.send([Buffer.from('still here')]);
    await until(() => pair.atAccepted.text === 'still here');
    pair.accepted.send([Buffer.from('so am I')]);
    await until(() => pair.atDialled.text === 'so am I');
    pair.dialled.close();
    await pair.over();
    await closed;
  });
}

function carrying(make: () => Rig): void {
  it('has one channel binding at both ends, there once bytes have come', async () => {
    await using pair = await Pair.opened(make());
    pair.dialled.send([Buffer.from('x')]);
    await until(() => pair.atAccepted.size === 1);
    expect(pair.dialled.channelBinding).toHaveLength(32);
    expect(Buffer.from(pair.accepted.channelBinding)).toEqual(Buffer.from(pair.dialled.channelBinding));
  });

  it('keeps the order, both ways at once', async () => {
    await using pair = await Pair.opened(make());
    let [sent, answered] = ['', ''];
    for (let turn = 0; turn < 500; turn += 1) {
      pair.dialled.send([Buffer.from(`${turn},`), Buffer.from(`${turn};`)]);
      pair.accepted.send([Buffer.from(`${-turn} `)]);
      sent += `${turn},${turn};`;
      answered += `${-turn} `;
      if (turn % 50 === 0) await turns(1);
    }
    await until(() => pair.atAccepted.size >= sent.length && pair.atDialled.size >= answered.length);
    expect(pair.atAccepted.text).toBe(sent);
    expect(pair.atDialled.text).toBe(answered);
  });

  it('carries 1 MiB in one chunk and in many, unchanged', async () => {
    await using pair = await Pair.opened(make());
    const whole = Buffer.from(Uint8Array.from({ length: 1024 * 1024 }, (_, at) => at * 31 + (at >>> 8)));
    pair.dialled.send([whole]);
    const parts = Array.from({ length: 1024 }, (_, at) => whole.subarray(at * 1024, (at + 1) * 1024));
    pair.accepted.send(parts);
    await until(() => pair.atAccepted.size >= whole.length && pair.atDialled.size >= whole.length);
    for (const owner of [pair.atAccepted, pair.atDialled]) expect(Buffer.concat(owner.chunks).equals(whole)).toBe(true);
  });

  it('keeps what comes before there is an owner', async () => {
    await using pair = await Pair.of(make());
    pair.dialled.send([Buffer.from('early ')]);
    await turns(20);
    pair.dialled.send([Buffer.from('bird')]);
    await turns(20);
    pair.accepted.open(pair.atAccepted);
    await until(() => pair.atAccepted.text === 'early bird');
    pair.accepted.send([Buffer.from('worm')]);
    await turns(20);
    pair.dialled.open(pair.atDialled);
    await until(() => pair.atDialled.text === 'worm');
  });

  it('keeps it even if the sender has left meanwhile', async () => {
    await using pair = await Pair.of(make());
    pair.dialled.open(pair.atDialled);
    pair.dialled.send([Buffer.from('last words')]);
    pair.dialled.close();
    await turns(20);
    pair.accepted.open(pair.atAccepted);
    await pair.over();
    expect(pair.atAccepted.text).toBe('last words');
  });

  it('tells a later owner, and the former no more', async () => {
    await using pair = await Pair.opened(make());
    pair.dialled.send([Buffer.from('one')]);
    await until(() => pair.atAccepted.text === 'one');
    const heir = openWith(pair.accepted, new Owner());
    pair.dialled.send([Buffer.from('two')]);
    await until(() => heir.text === 'two');
    pair.dialled.close();
    await until(() => heir.reasons.length === 1);
    expect(pair.atAccepted).toMatchObject({ text: 'one', reasons: [] });
  });

  it('hands bytes over for good', async () => {
    await using pair = await Pair.opened(make());
    for (const letter of ['a', 'b', 'c', 'd']) {
      pair.dialled.send([Buffer.alloc(1000, letter)]);
      await until(() => pair.atAccepted.size % 1000 === 0 && pair.atAccepted.text.endsWith(letter));
    }
    expect(pair.atAccepted.text).toBe(['a', 'b', 'c', 'd'].map((letter) => letter.repeat(1000)).join(''));
  });
}

function holdingBack(make: () => Rig): void {
  const CHUNK = Buffer.alloc(1024 * 1024, 7);

  it('says when to hold back and when to go on, and loses nothing of it', async () => {
    await using pair = await Pair.of(make());
    pair.dialled.open(pair.atDialled);
    const release = pair.rig.block();
    let sent = 0;
    let free = true;
    while (free && sent < 64 * CHUNK.length) {
      free = pair.dialled.send([CHUNK]);
      sent += CHUNK.length;
    }
    expect(free).toBe(false);
    expect(pair.dialled.queuedBytes).toBeGreaterThan(0);
    expect(pair.dialled.queuedBytes).toBeLessThanOrEqual(sent);
    release();
    pair.accepted.open(pair.atAccepted);
    await until(() => pair.atDialled.drains > 0 && pair.atAccepted.size >= sent);
    expect(pair.atAccepted.size).toBe(sent);
    expect(pair.dialled.queuedBytes).toBe(0);
    expect(pair.atDialled.drains).toBe(1);
  });

  it('counts what an abort left behind', async () => {
    await using pair = await Pair.of(make());
    pair.dialled.open(pair.atDialled);
    const release = pair.rig.block();
    for (let sent = 0; sent < 16; sent += 1) pair.dialled.send([CHUNK]);
    pair.dialled.abort(ABORTED);
    expect(pair.dialled.queuedBytes).toBeGreaterThan(0);
    release();
    pair.accepted.open(pair.atAccepted);
    await pair.over();
    expect(pair.atDialled.drains).toBe(0);
    expect(pair.dialled.queuedBytes).toBeGreaterThan(0);
    expect(pair.dialled.queuedBytes).toBeLessThanOrEqual(16 * CHUNK.length);
  });

  it('flushes at close what waited', async () => {
    await using pair = await Pair.of(make());
    pair.dialled.open(pair.atDialled);
    const release = pair.rig.block();
    for (let sent = 0; sent < 8; sent += 1) pair.dialled.send([CHUNK]);
    pair.dialled.close();
    release();
    pair.accepted.open(pair.atAccepted);
    await pair.over();
    expect(pair.atAccepted.size).toBe(8 * CHUNK.length);
  });
}

function ending(make: () => Rig): void {
  const ENDS: readonly (readonly [title: string, end: (pair: Pair) => void])[] = [
    ['close', ({ dialled }) => dialled.close()],
    ['close twice', ({ dialled }) => [dialled.close(), dialled.close()]],
    ['abort', ({ dialled }) => dialled.abort(ABORTED)],
    ['abort twice', ({ dialled }) => [dialled.abort(ABORTED), dialled.abort(ABORTED)]],
    ['close, then abort', ({ dialled }) => [dialled.close(), dialled.abort(ABORTED)]],
    ['abort, then close', ({ dialled }) => [dialled.abort(ABORTED), dialled.close()]],
    ['close by the peer', ({ accepted }) => accepted.close()],
    ['abort by the peer', ({ accepted }) => accepted.abort(ABORTED)],
    ['close at both ends at once', ({ dialled, accepted }) => [dialled.close(), accepted.close()]],
    ['abort at both ends at once', ({ dialled, accepted }) => [dialled.abort(ABORTED), accepted.abort(ABORTED)]],
    ['close here, abort there', ({ dialled, accepted }) => [dialled.close(), accepted.abort(ABORTED)]],
  ];

  it.each(ENDS)('is told once: %s', async (_title, end) => {
    await using pair = await Pair.opened(make());
    pair.dialled.send([Buffer.from('x')]);
    await until(() => pair.atAccepted.size === 1);
    end(pair);
    await pair.over();
    for (const channel of [pair.dialled, pair.accepted]) {
      channel.close();
      channel.abort(ABORTED);
      channel.keepAlive(false);
      expect(channel.send([Buffer.from('too late')])).toBe(false);
    }
    await pair.over();
  });

  it('comes to the peer after everything that was sent', async () => {
    await using pair = await Pair.opened(make());
    const whole = Buffer.alloc(1024 * 1024, 'z');
    pair.dialled.send([whole]);
    pair.dialled.close();
    await pair.over();
    expect(pair.atAccepted.size).toBe(whole.length);
    expect(pair.atAccepted.reasons).toMatchObject([{ code: 'connection_lost' }]);
  });

  it("comes with the owner's own reason when it aborted", async () => {
    await using pair = await Pair.opened(make());
    pair.dialled.abort(ABORTED);
    await pair.over();
    expect(pair.atDialled.reasons).toEqual([ABORTED]);
    expect(pair.atAccepted.reasons).toMatchObject([{ code: 'connection_lost' }]);
  });

  it('is told to an owner who came later', async () => {
    await using pair = await Pair.of(make());
    pair.dialled.abort(ABORTED);
    await turns(20);
    pair.dialled.open(pair.atDialled);
    pair.accepted.open(pair.atAccepted);
    await pair.over();
    expect(pair.atDialled.reasons).toEqual([ABORTED]);
  });
}

function openWith(channel: Channel, owner: Owner): Owner {
  channel.open(owner);
  return owner;
}

async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}

function unexpected(what: unknown): never {
  throw new Error('this must not happen', { cause: what });
}
