/** Nodes that the domain name system knows: what becomes of its answers, when it is asked again, and how it is told what to ask. */
import { describe, expect, it } from 'vitest';
import { DnsDiscovery } from '../../lib/discovery/dns.discovery.js';
import type { DnsDiscoveryOptions } from '../../lib/discovery/dns-options.js';
import { GenRpcConfigError } from '../../lib/options/config-error.js';
import { VirtualClock } from '../../lib/testing/virtual-clock.js';
import { addresses, ScriptedNames } from '../support/scripted-names.js';
import { ToldTable } from '../support/told-table.js';

const HOST = 'math.test';
const SRV = '_gen-rpc._tcp.math.test';
const MATH = { name: 'math', host: HOST } as const;
const STOCK = { name: 'stock', host: 'stock.test' } as const;
const TARGETS = { name: 'math', srv: SRV } as const;
const NEVER = new AbortController().signal;

/** A source with a name server and a clock in the test's hand; chance is always in the middle. */
class Asking implements AsyncDisposable {
  readonly clock = new VirtualClock();
  readonly names = new ScriptedNames();
  readonly table = new ToldTable(this.clock);
  readonly source: DnsDiscovery;

  constructor(options: DnsDiscoveryOptions) {
    const random = { fraction: () => 0.5, bytes: () => new Uint8Array() };
    this.source = new DnsDiscovery(options, { clock: this.clock, random, nameServer: this.names });
  }

  async watch(): Promise<void> {
    this.source.watch(this.table);
    await this.clock.advance(0);
  }

  /** How often something was asked since the last time. */
  asked(): number {
    return this.names.asked.splice(0).length;
  }

  /** ms until it is asked again. */
  async untilAsked(): Promise<number> {
    this.asked();
    const start = this.clock.now();
    while (this.names.asked.length === 0) await this.clock.advance(100);
    return this.clock.now() - start;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.source.close();
    await this.source.close();
    this.table.membership.close();
    expect(this.clock.pending).toBe(0);
  }
}

function target(name: string, port: number, priority = 0, weight = 0): unknown {
  return { name, port, priority, weight };
}

describe('nodes by address', () => {
  it('are called by it, as others write it, and told with what is known of all', async () => {
    await using asking = new Asking({ ...MATH, port: 6000, driver: 'tls', modules: ['math'] });
    asking.names.says(`A ${HOST}`, addresses(5, '10.0.0.2', '10.0.0.1', '10.0.0.2'));
    asking.names.says(`AAAA ${HOST}`, addresses(5, 'FD00:0:0:0:0:0:0:1'));
    await asking.watch();
    expect(asking.table.names).toEqual(['math@10.0.0.1', 'math@10.0.0.2', 'math@fd00::1']);
    expect(asking.table.record('math@fd00::1')).toEqual({
      name: 'math@fd00::1',
      locations: [{ driver: 'tls', host: 'fd00::1', port: 6000 }],
      modules: [{ name: 'math', versions: [''] }],
    });
  });

  it.each([4, 6] as const)('may be of one family: %i', async (family) => {
    await using asking = new Asking({ ...MATH, family });
    await asking.watch();
    expect(asking.names.asked).toEqual([`${family === 4 ? 'A' : 'AAAA'} ${HOST}`]);
  });

  it('are told as far as one family tells of them, and the other as it last did', async () => {
    await using asking = new Asking(MATH);
    asking.names.says(`A ${HOST}`, addresses(5, '10.0.0.1'));
    asking.names.fails(`AAAA ${HOST}`, 'ETIMEOUT');
    await asking.watch();
    expect(asking.table.names).toEqual(['math@10.0.0.1']);
    expect(asking.table.messages).toEqual([`The AAAA records of ${HOST} cannot be looked up: query ETIMEOUT`]);
    asking.names.says(`AAAA ${HOST}`, addresses(5, 'fd00::1'));
    await asking.clock.advance(5500);
    asking.names.fails(`AAAA ${HOST}`, 'ETIMEOUT');
    asking.names.says(`A ${HOST}`, addresses(5, '10.0.0.2'));
    await asking.clock.advance(5500);
    expect(asking.table.names).toEqual(['math@10.0.0.2', 'math@fd00::1']);
  });

  it('are found without a question: at the address in their name, on the port of their service', async () => {
    await using asking = new Asking({
      services: [
        { ...MATH, port: 6000 },
        { ...STOCK, driver: 'tls' },
      ],
    });
    await expect(asking.source.resolve('math@10.0.0.9', NEVER)).resolves.toEqual({ port: 6000 });
    await expect(asking.source.resolve('stock@10.0.0.9', NEVER)).resolves.toEqual({ driver: 'tls' });
    const failure: unknown = await asking.source.resolve('maths@10.0.0.9', NEVER).catch((error: unknown) => error);
    expect(failure).toMatchObject({ code: 'external_source_error', maybeExecuted: false });
    expect(String(failure)).toContain('maths@10.0.0.9');
    expect(asking.names.asked).toEqual([]);
  });

  it('are looked up again when the first of their records no longer holds, give or take a tenth', async () => {
    await using asking = new Asking({ ...MATH, family: 4 });
    asking.names.says(`A ${HOST}`, [...addresses(7, '10.0.0.1'), ...addresses(20, '10.0.0.2')]);
    await asking.watch();
    await expect(asking.untilAsked()).resolves.toBe(7000);
    asking.names.says(`A ${HOST}`, addresses(3600, '10.0.0.1'));
    await asking.clock.advance(7000);
    await expect(asking.untilAsked()).resolves.toBe(30_000);
  });

  it('are looked up for every minute of their hour where the interval says so', async () => {
    await using asking = new Asking({ ...MATH, family: 4, interval: 60_000 });
    asking.names.says(`A ${HOST}`, addresses(3600, '10.0.0.1'));
    await asking.watch();
    await expect(asking.untilAsked()).resolves.toBe(60_000);
  });
});

describe('services in one source', () => {
  it('are told of together, once each has been asked for', async () => {
    await using asking = new Asking({ services: [MATH, STOCK], timeout: 5000 });
    asking.names.says(`A ${HOST}`, addresses(60, '10.0.0.1'));
    asking.names.says('A stock.test', 'nothing');
    await asking.watch();
    expect(asking.table.told).toEqual([]);
    await asking.clock.advance(5000);
    expect(asking.table.told).toEqual([['math@10.0.0.1']]);
    expect(asking.table.messages).toEqual([expect.stringContaining('A records of stock.test')]);
    asking.names.says('A stock.test', addresses(60, '10.0.0.7'));
    await asking.clock.advance(5000);
    expect(asking.table.names).toEqual(['math@10.0.0.1', 'stock@10.0.0.7']);
  });

  it('are known as they last were told of while one of them cannot be', async () => {
    await using asking = new Asking({ services: [MATH, STOCK] });
    asking.names.says(`A ${HOST}`, addresses(5, '10.0.0.1'));
    asking.names.says('A stock.test', addresses(5, '10.0.0.7'));
    await asking.watch();
    for (const type of ['A', 'AAAA']) asking.names.fails(`${type} stock.test`, 'ESERVFAIL');
    asking.names.says(`A ${HOST}`, addresses(5, '10.0.0.2'));
    await asking.clock.advance(3_600_000);
    expect(asking.table.names).toEqual(['math@10.0.0.2', 'stock@10.0.0.7']);
    expect(asking.table.messages.length).toBeGreaterThan(100);
  });

  it('D-03 of which one has no nodes any more: that is believed when it is told twice', async () => {
    await using asking = new Asking({ services: [MATH, STOCK] });
    asking.names.says(`A ${HOST}`, addresses(5, '10.0.0.1'));
    asking.names.says('A stock.test', addresses(5, '10.0.0.7'));
    await asking.watch();
    asking.names.says('A stock.test', []);
    await asking.clock.advance(5000);
    expect(asking.table.names).toEqual(['math@10.0.0.1', 'stock@10.0.0.7']);
    asking.names.says('A stock.test', addresses(5, '10.0.0.8'));
    await asking.clock.advance(1000);
    expect(asking.table.names).toEqual(['math@10.0.0.1', 'stock@10.0.0.8']);
    asking.names.fails('A stock.test', 'ENOTFOUND');
    await asking.clock.advance(5000);
    expect(asking.table.names).toEqual(['math@10.0.0.1', 'stock@10.0.0.8']);
    await asking.clock.advance(1000);
    expect(asking.table.names).toEqual(['math@10.0.0.1']);
    expect(asking.table.messages).toEqual([]);
  });

  it('D-03 of which all have no nodes any more are asked anew before that is believed', async () => {
    await using asking = new Asking({ services: [MATH, STOCK] });
    asking.names.says(`A ${HOST}`, addresses(5, '10.0.0.1'));
    await asking.watch();
    asking.names.fails(`A ${HOST}`, 'ENODATA');
    await asking.clock.advance(6000);
    expect(asking.table).toMatchObject({ doubts: 1, names: ['math@10.0.0.1'] });
    asking.asked();
    await asking.clock.advance(1000);
    expect(asking.names.asked).toContain(`A ${HOST}`);
    expect(asking.table.names).toEqual([]);
  });
});

describe('nodes by SRV record', () => {
  it('D-08 have port, priority and weight from their record, weight 0 and equal ones too', async () => {
    await using asking = new Asking({ ...TARGETS, driver: 'tls', modules: [{ module: 'math', version: '1.0.0' }] });
    asking.names.says(`SRV ${SRV}`, [
      target('C.math.test.', 7003, 2, 10),
      target('b.math.test', 7002, 1, 0),
      target('a.math.test', 7001, 1, 0),
    ]);
    await asking.watch();
    expect(asking.table.told).toEqual([['math@a.math.test', 'math@b.math.test', 'math@c.math.test']]);
    const records = asking.table.names.map((name) => asking.table.record(name));
    expect(records).toMatchObject([
      { locations: [{ driver: 'tls', host: 'a.math.test', port: 7001 }], priority: 1, weight: 0 },
      { locations: [{ driver: 'tls', host: 'b.math.test', port: 7002 }], priority: 1, weight: 0 },
      { locations: [{ driver: 'tls', host: 'c.math.test', port: 7003 }], priority: 2, weight: 10 },
    ]);
    expect(records[0]?.modules).toEqual([{ name: 'math', versions: ['1.0.0'] }]);
  });

  it('D-10 are one node where they lead to one host, with its ports in the order of RFC 2782, whatever that of the answer', async () => {
    const all = [
      target('a.test', 3, 2, 9),
      target('A.test.', 2, 1, 5),
      target('a.test', 1, 1, 60),
      target('a.test', 1, 3),
    ];
    for (const answer of [all, all.toReversed()]) {
      await using asking = new Asking(TARGETS);
      asking.names.says(`SRV ${SRV}`, answer);
      await asking.watch();
      expect(asking.table.told).toEqual([['math@a.test']]);
      const { locations, priority, weight } = asking.table.record('math@a.test') ?? expect.fail('no record');
      expect(locations.map(({ port }) => port)).toEqual([1, 2, 3]);
      expect({ priority, weight }).toEqual({ priority: 1, weight: 60 });
      await expect(asking.source.resolve('math@a.test', NEVER)).resolves.toEqual(locations);
    }
  });

  it('D-08 are none where the target is ".", and an error for whoever wants one', async () => {
    await using asking = new Asking({ services: [TARGETS, STOCK] });
    asking.names.says(`SRV ${SRV}`, [target('a.test', 1)]);
    asking.names.says('A stock.test', addresses(60, '10.0.0.7'));
    await asking.watch();
    expect(asking.table.names).toEqual(['math@a.test', 'stock@10.0.0.7']);
    for (const none of ['', '.']) {
      asking.names.says(`SRV ${SRV}`, [target(none, 0)]);
      await asking.clock.advance(10_000);
      expect(asking.table.names).toEqual(['stock@10.0.0.7']);
      await expect(asking.source.resolve('math@a.test', NEVER)).rejects.toMatchObject({
        code: 'external_source_error',
      });
    }
    expect(asking.table).toMatchObject({ messages: [], doubts: 0, refused: [] });
  });

  it('are looked up every ten seconds, or as often as the interval says', async () => {
    for (const [interval, ms] of [
      [undefined, 10_000],
      [25_000, 25_000],
      [500, 500],
    ] as const) {
      await using asking = new Asking(interval === undefined ? TARGETS : { ...TARGETS, interval });
      asking.names.says(`SRV ${SRV}`, [target('a.test', 1)]);
      await asking.watch();
      await expect(asking.untilAsked()).resolves.toBe(ms);
    }
  });

  it('are asked for when somebody wants one', async () => {
    await using asking = new Asking({ services: [TARGETS, MATH] });
    asking.names.says(`SRV ${SRV}`, [target('a.test', 1), target('b.test', 2)]);
    await expect(asking.source.resolve('math@b.test', NEVER)).resolves.toEqual([
      { driver: undefined, host: 'b.test', port: 2 },
    ]);
    // By SRV there is no such node; by address it may be.
    await expect(asking.source.resolve('math@10.0.0.9', NEVER)).resolves.toEqual({});
  });
});

describe('a name server', () => {
  it('D-08 is asked once a second at most, however short its records hold', async () => {
    await using asking = new Asking({ ...MATH, family: 4 });
    asking.names.says(`A ${HOST}`, addresses(0, '10.0.0.1'));
    await asking.watch();
    asking.asked();
    await asking.clock.advance(60_000);
    expect(asking.asked()).toBe(60);
  });

  it('that knows no nodes is asked again after ten seconds', async () => {
    await using asking = new Asking({ ...MATH, family: 4 });
    await asking.watch();
    await expect(asking.untilAsked()).resolves.toBe(10_000);
    expect(asking.table).toMatchObject({ doubts: 0, messages: [] });
  });

  it('that fails is asked more and more seldom, and as before once it answers', async () => {
    await using asking = new Asking({ ...MATH, family: 4 });
    asking.names.fails(`A ${HOST}`, 'ECONNREFUSED');
    await asking.watch();
    const waits: number[] = [];
    for (let at = 0; at < 8; at += 1) waits.push(await asking.untilAsked());
    expect(waits).toEqual([500, 1000, 2000, 4000, 8000, 15_000, 15_000, 15_000]);
    asking.names.says(`A ${HOST}`, addresses(5, '10.0.0.1'));
    await asking.clock.advance(15_000);
    asking.names.fails(`A ${HOST}`, 'ECONNREFUSED');
    await asking.clock.advance(5000);
    await expect(asking.untilAsked()).resolves.toBe(500);
    expect(asking.table.names).toEqual(['math@10.0.0.1']);
  });

  it.each(['ESERVFAIL', 'ETIMEOUT', 'ECONNREFUSED', 'EBADRESP', 'EREFUSED'])(
    'D-03 that fails with %s has taken nobody away, for however long',
    async (code) => {
      await using asking = new Asking(MATH);
      asking.names.says(`A ${HOST}`, addresses(5, '10.0.0.1'));
      await asking.watch();
      for (const type of ['A', 'AAAA']) asking.names.fails(`${type} ${HOST}`, code);
      await asking.clock.advance(24 * 3_600_000);
      expect(asking.table).toMatchObject({ names: ['math@10.0.0.1'], doubts: 0 });
      expect(asking.table.messages[0]).toContain(code);
      expect(asking.table.membership.ageMs).toBeGreaterThan(23 * 3_600_000);
    },
  );

  it.each(['ENODATA', 'ENOTFOUND'])('D-03 that says %s is believed when it says so twice', async (code) => {
    await using asking = new Asking(MATH);
    asking.names.says(`A ${HOST}`, addresses(5, '10.0.0.1'));
    await asking.watch();
    asking.names.fails(`A ${HOST}`, code);
    await asking.clock.advance(5000);
    expect(asking.table).toMatchObject({ names: ['math@10.0.0.1'], doubts: 1 });
    await asking.clock.advance(1000);
    expect(asking.table).toMatchObject({ names: [], doubts: 1, messages: [] });
  });

  it('D-09 that never answers is given up after the time that a look-up has, and asked again', async () => {
    await using asking = new Asking({ ...MATH, family: 4, timeout: 3000 });
    asking.names.says(`A ${HOST}`, 'nothing');
    await asking.watch();
    await asking.clock.advance(2999);
    expect(asking.table.messages).toEqual([]);
    await asking.clock.advance(1);
    expect(asking.table.messages).toEqual([
      `The A records of ${HOST} cannot be looked up: there was no answer within 3000 ms`,
    ]);
    expect(asking.names.abandoned).toEqual([`A ${HOST}`]);
    asking.names.says(`A ${HOST}`, addresses(5, '10.0.0.1'));
    await asking.clock.advance(1000);
    expect(asking.table.names).toEqual(['math@10.0.0.1']);
  });

  it('D-09 that never answers is given up when nobody wants to know any more', async () => {
    await using asking = new Asking(TARGETS);
    asking.names.says(`SRV ${SRV}`, 'nothing');
    const asker = new AbortController();
    const answer = asking.source.resolve('math@a.test', asker.signal);
    await asking.clock.advance(1000);
    asker.abort(new Error('enough'));
    await expect(answer).rejects.toMatchObject({ code: 'external_source_error' });
    expect(asking.names.abandoned).toEqual([`SRV ${SRV}`]);
    expect(asking.clock.pending).toBe(0);
  });

  it('that never answers keeps nobody from closing, and what it says later is not told', async () => {
    const asking = new Asking(MATH);
    asking.names.says(`A ${HOST}`, 'nothing');
    await asking.watch();
    await asking[Symbol.asyncDispose]();
    expect(asking.names.abandoned).toContain(`A ${HOST}`);
    await asking.clock.advance(60_000);
    expect(asking.table).toMatchObject({ told: [], messages: [] });
  });

  it('with ten thousand nodes is no reason to stop', async () => {
    await using asking = new Asking({ ...MATH, family: 4 });
    const all = Array.from({ length: 10_000 }, (_, at) => `10.0.${at >> 8}.${at & 255}`);
    asking.names.says(`A ${HOST}`, addresses(5, ...all));
    await asking.watch();
    expect(asking.table.names).toHaveLength(10_000);
  });
});

describe('what to ask', () => {
  function problemsOf(options: unknown): string[] {
    try {
      return [String(new DnsDiscovery(options as DnsDiscoveryOptions))];
    } catch (error) {
      if (!(error instanceof GenRpcConfigError)) throw error;
      return error.message.split('\n').slice(1);
    }
  }

  it.each<[unknown, readonly string[]]>([
    [{}, ['name: expected letters, digits and _ . -', 'host: expected a whole domain name, here or as srv']],
    [{ ...MATH, srv: SRV }, ['srv: expected nothing beside host']],
    [{ ...TARGETS, port: 1, family: 4 }, ['port: expected nothing beside srv', 'family: expected nothing beside srv']],
    [{ ...MATH, name: 'math@b', host: 'a b', port: 0, family: 5 }, ['name: ', 'host: ', 'port: ', 'family: ']],
    [{ ...MATH, intervall: 1 }, ['intervall: expected no option of this name; did you mean interval?']],
    [{ ...MATH, interval: 0, timeout: 'x', modules: [7] }, ['modules: ', 'timeout: ', 'interval: ']],
    [{ services: [] }, ['services: expected a list of services']],
    [{ services: [MATH], host: HOST }, ['host: expected nothing beside services']],
    [{ services: [{ nam: 'math', host: HOST }, 7] }, ['services[0].nam: ', 'services[0].name: ', 'services[1]: ']],
    [7, [': expected an object']],
    ...['dns', '10.0.0', '10.0.0.256', '10.0.0.1:0', '10.0.0.1:65536', '[::1]:0', '[10.0.0.1]:53', ':53', 7].map(
      (server): [unknown, string[]] => [{ ...MATH, servers: [server] }, ['servers: expected a list of addresses']],
    ),
    [{ ...MATH, servers: [] }, ['servers: ']],
  ])('is checked at once, and all that is wrong is told: %j', (options, expected) => {
    const problems = problemsOf(options);
    expect(problems).toHaveLength(expected.length);
    for (const one of expected) expect(problems.join('\n')).toContain(`- ${one}`);
  });

  it.each<DnsDiscoveryOptions>([
    {
      ...MATH,
      servers: ['10.0.0.1', '10.0.0.1:5353', '[fd00::1]:53', '[fd00::1]', 'fd00::1'],
      timeout: 1,
      interval: 1,
    },
    { services: [MATH, TARGETS, STOCK] },
    { ...TARGETS, modules: [] },
  ])('is right: %j', (options) => expect(problemsOf(options)).toEqual(['[object Object]']));
});
