/** everything that can end a call happens within one turn, and whoever is told of the end does its worst. */
/* oxlint-disable unicorn/no-thenable -- a handler that answers within a turn is one that returns a thenable of the test's */
import { Controller } from '@nestjs/common';
import { MessagePattern } from '@nestjs/microservices';
import { firstValueFrom, of } from 'rxjs';
import { describe, expect, it } from 'vitest';
import { GenRpcClient } from '../../lib/nest/gen-rpc.client.js';
import type { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import type { GenRpcError } from '../../lib/protocol/errors.js';
import { App, SECRET, SERVER } from '../nest/support.js';
import { Cluster } from '../support/cluster.js';
import { until } from '../support/door.js';
import { HandClock, HandDriver } from '../support/hand.js';

const B = 'b@127.0.0.1';
const TIMEOUT = 1000;

/** A function that begins when it is called, and answers between two lines of a test. */
class Slow {
  begun = 0;
  /** What its callers' signals aborted with. */
  readonly aborts: unknown[] = [];
  private readonly waiting: ((value: unknown) => void)[] = [];

  readonly handler = (_args: unknown, { signal }: { readonly signal: AbortSignal }): unknown => {
    this.begun += 1;
    signal.addEventListener('abort', () => this.aborts.push((signal.reason as GenRpcError).code));
    return { then: (give: (value: unknown) => void) => this.waiting.push(give) };
  };

  /** To everyone who waits. */
  answer(value: unknown): void {
    for (const give of this.waiting.splice(0)) give(value);
  }
}

/** Whatever is under way arrives. */
async function turns(): Promise<void> {
  for (let turn = 0; turn < 10; turn += 1) await new Promise(setImmediate);
}

/** `a` calls `b`; the clocks and drivers of both are in the test's hand. `c` is another caller of `b`, and healthy. */
class Table {
  readonly slow = new Slow();
  readonly bystander = new Slow();
  private readonly giveUp = new AbortController();

  private constructor(
    readonly cluster: Cluster,
    readonly clocks: Record<'a' | 'b', HandClock>,
    readonly drivers: Record<'a' | 'b', HandDriver>,
    readonly a: GenRpcNode,
    readonly b: GenRpcNode,
    readonly c: GenRpcNode,
  ) {}

  static async lay(): Promise<Table> {
    const cluster = new Cluster({ driver: 'memory' });
    const clocks = { a: new HandClock(), b: new HandClock() };
    const driver = (): HandDriver => new HandDriver(cluster.network.driver('127.0.0.1'));
    const drivers = { a: driver(), b: driver() };
    const ports = (name: 'a' | 'b') => ({ clock: clocks[name], drivers: [drivers[name]] });
    const b = await cluster.start('b', {}, ports('b'));
    const a = cluster.create('a', { listen: false }, ports('a'));
    const table = new Table(cluster, clocks, drivers, a, b, cluster.create('c', { listen: false }));
    for (const node of [a, b]) {
      const functions = { slow: table.slow.handler, bystander: table.bystander.handler };
      node.register('table', { ...functions, add: ([x, y]: [number, number]) => x + y, count: () => of(1, 2, 3) });
    }
    await table.c.connect(B);
    // A connection that has answered: its loss is no failed attempt to connect.
    await a.call(B, 'table', 'add', [1, 2]);
    return table;
  }

  /** Makes a call, and keeps what its caller hears. `onSettled` is called from within. */
  call(fn: string, to = B, timeout = TIMEOUT, onSettled: (ending: string) => void = () => {}): string[] {
    const heard: string[] = [];
    const settled = (ending: string): void => {
      heard.push(ending);
      onSettled(ending);
    };
    const name = this.a.functionName('table', fn);
    const args = fn === 'add' ? [1, 2] : [];
    const signal = fn === 'slow' ? { signal: this.giveUp.signal } : {};
    this.a.request(
      { node: to },
      { name, args, single: false, headers: undefined },
      { timeout, ...signal },
      {
        item: () => {},
        done: (value) => settled(`done ${String(value)}`),
        failed: ({ code, maybeExecuted }) => settled(`failed ${code}${maybeExecuted ? ', may have run' : ''}`),
      },
    );
    return heard;
  }

  /** All calls of `slow` end by this. */
  timeout(): void {
    this.clocks.a.pass(2 * TIMEOUT);
  }

  cancel(): void {
    this.giveUp.abort();
  }

  disconnect(): void {
    const [, link] = this.cluster.network.links;
    link?.cut();
  }

  /** The steps in this order, within one turn; the reply stands at the caller's door. */
  happen(order: readonly Step[], cancel: () => void): void {
    const does: Record<Step, () => void> = {
      reply: () => this.drivers.a.handOver(),
      timeout: () => this.timeout(),
      cancel,
      disconnect: () => this.disconnect(),
    };
    for (const step of order) does[step]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.slow.answer('at last');
    this.bystander.answer('at last');
    expect(await this.c.call(B, 'table', 'add', [1, 2])).toBe(3);
    expect(this.c.stats().counts).toEqual({ dialled: 1, connected: 1 });
    await this.cluster[Symbol.asyncDispose]();
    expect([this.clocks.a.pending, this.clocks.b.pending]).toEqual([0, 0]);
  }
}

const STEPS = ['reply', 'timeout', 'cancel', 'disconnect'] as const;
type Step = (typeof STEPS)[number];

function ordersOf(steps: readonly Step[]): Step[][] {
  if (steps.length === 0) return [[]];
  return steps.flatMap((first) => ordersOf(steps.filter((step) => step !== first)).map((rest) => [first, ...rest]));
}

/** Which of the four comes first decides. */
const ORDERS = ordersOf(STEPS).map((order) => ({ order, names: order.join(', '), first: order[0] ?? 'reply' }));

const ENDINGS: Readonly<Record<Step, string>> = {
  reply: 'done 7',
  timeout: 'failed timeout, may have run',
  cancel: 'failed cancelled, may have run',
  disconnect: 'failed connection_lost, may have run',
};

describe('X-03 reply, timeout, cancel and disconnect within one turn', () => {
  it('X-03 come in 24 orders', () => {
    expect(new Set(ORDERS.map(({ names }) => names)).size).toBe(24);
  });

  it.each(ORDERS)('X-03 at the caller: $names', async ({ order, first }) => {
    await using table = await Table.lay();
    const [heard, bystander] = [table.call('slow'), table.call('bystander', B, 60_000)];
    await until(() => table.slow.begun === 1 && table.bystander.begun === 1);
    table.drivers.a.holding = true;
    table.slow.answer(7);
    await turns();
    expect(heard).toEqual([]);
    table.happen(order, () => table.cancel());
    expect(heard).toEqual([ENDINGS[first]]);
    table.drivers.a.holding = false;
    await turns();
    expect(heard).toEqual([ENDINGS[first]]);
    expect(bystander).toEqual([ENDINGS.disconnect]);
    const late = first !== 'reply' && order.indexOf('reply') < order.indexOf('disconnect');
    expect(table.a.stats()).toMatchObject({ pendingCalls: 0, openConnections: 0 });
    expect(table.a.stats().counts.late_frames).toBe(late ? 1 : undefined);
    expect(table.b.stats()).toMatchObject({ runningCalls: 0, acceptedConnections: 1 });
    expect([table.slow.aborts, table.bystander.aborts]).toEqual([[], ['connection_lost']]);
  });

  it.each(ORDERS)('X-03 of an async call: $names', async ({ order, first }) => {
    await using table = await Table.lay();
    const handle = table.a.asyncCall(B, 'table', 'slow', [], { timeout: TIMEOUT });
    const heard: unknown[] = [];
    handle.yield().then(
      (value) => heard.push(`done ${String(value)}`),
      ({ code }: GenRpcError) => heard.push(`failed ${code}, may have run`),
    );
    await until(() => table.slow.begun === 1);
    table.drivers.a.holding = true;
    table.slow.answer(7);
    await turns();
    table.happen(order, () => handle.cancel());
    await turns();
    expect(heard).toEqual([ENDINGS[first]]);
    expect(await handle.nbYield()).toBe('timeout');
    expect(table.a.stats().pendingCalls).toBe(0);
  });

  it.each(ORDERS)('X-03 at the function: $names', async ({ order, first }) => {
    await using table = await Table.lay();
    table.call('slow');
    await until(() => table.slow.begun === 1);
    table.drivers.b.holding = true;
    table.cancel();
    await turns();
    expect(table.b.stats().runningCalls).toBe(1);
    const does: Record<Step, () => void> = {
      reply: () => table.slow.answer(7),
      timeout: () => table.clocks.b.pass(2 * TIMEOUT),
      cancel: () => table.drivers.b.handOver(),
      disconnect: () => table.disconnect(),
    };
    for (const step of order) does[step]();
    table.drivers.b.holding = false;
    await turns();
    const reasons: Record<Step, string[]> = {
      reply: [],
      timeout: ['timeout'],
      cancel: ['cancelled'],
      disconnect: ['connection_lost'],
    };
    expect(table.slow.aborts).toEqual(reasons[first]);
    expect(table.b.stats()).toMatchObject({ runningCalls: 0, acceptedConnections: 1 });
    expect(table.slow.begun).toBe(1);
  });

  const THREE = ordersOf(['reply', 'timeout', 'cancel']).map((order) => ({ order, names: order.join(', ') }));

  it.each(THREE)('X-03 at the function, whose connection lives: $names', async ({ order, names }) => {
    await using table = await Table.lay();
    table.call('slow');
    await until(() => table.slow.begun === 1);
    table.drivers.b.holding = true;
    table.cancel();
    await turns();
    for (const step of order) {
      if (step === 'reply') table.slow.answer(7);
      else if (step === 'timeout') table.clocks.b.pass(2 * TIMEOUT);
      else table.drivers.b.handOver();
      expect(table.b.stats().runningCalls).toBe(order.indexOf('reply') <= order.indexOf(step) ? 0 : 1);
    }
    table.drivers.b.holding = false;
    await turns();
    // Whatever answer left, the caller has given up and counts it.
    expect(table.a.stats().counts.late_frames).toBe(names.startsWith('reply') ? 1 : undefined);
    const answered = table.a.call(B, 'table', 'add', [1, 2]);
    expect(await answered).toBe(3);
    expect(table.a.stats().counts).toMatchObject({ dialled: 1, connected: 1 });
  });

  it.each(ORDERS)('X-03 of a call of the own node, which closes: $names', async ({ order, first }) => {
    await using table = await Table.lay();
    const heard = table.call('slow', table.a.name);
    const does: Record<Step, () => void> = {
      reply: () => table.slow.answer(7),
      timeout: () => table.timeout(),
      cancel: () => table.cancel(),
      disconnect: () => void table.a.close(),
    };
    for (const step of order) does[step]();
    await turns();
    expect(heard).toEqual([first === 'disconnect' ? ENDINGS.cancel : ENDINGS[first]]);
    expect(table.a.stats()).toMatchObject({ pendingCalls: 0, runningCalls: 0 });
  });
});

/** What ends three calls of `slow` at once. */
const ENDS: Readonly<Record<Step, (table: Table) => void>> = {
  reply: ({ slow }) => slow.answer(7),
  timeout: (table) => table.timeout(),
  cancel: (table) => table.cancel(),
  disconnect: (table) => table.disconnect(),
};

/** What each of the three callers does as soon as it is told. */
const DEEDS: Readonly<Record<string, (table: Table, later: string[][]) => void>> = {
  'calls again': (table, later) => later.push(table.call('add')),
  'calls its own node': (table, later) => later.push(table.call('add', table.a.name)),
  'closes the node': ({ a }) => void a.close(),
  'aborts the node': ({ a }) => a.abort(),
  'gives up the others': (table) => table.cancel(),
  throws: () => {
    throw new Error('what a caller does');
  },
};

const CASES = STEPS.flatMap((end) => Object.keys(DEEDS).map((deed) => ({ end, deed })));

describe('X-04 the caller who is told of the end', () => {
  it.each(CASES)('X-04 by $end, $deed', async ({ end, deed }) => {
    await using table = await Table.lay();
    const later: string[][] = [];
    const act = (): void => DEEDS[deed]?.(table, later);
    const bystander = table.call('bystander', B, 60_000);
    const calls = [1, 2, 3].map(() => table.call('slow', B, TIMEOUT, act));
    await until(() => table.slow.begun === 3 && table.bystander.begun === 1);
    ENDS[end](table);
    await turns();
    for (const heard of calls) expect(heard).toHaveLength(1);
    expect(calls.flat()).toContain(ENDINGS[end]);
    const closes = deed.includes('the node');
    if (!closes && deed !== 'gives up the others') expect(calls).toEqual([1, 2, 3].map(() => [ENDINGS[end]]));
    expect(later).toEqual(deed.startsWith('calls') ? [['done 3'], ['done 3'], ['done 3']] : []);
    expect(table.a.stats().counts.listener_failed).toBe(deed === 'throws' ? 3 : undefined);
    if (!closes && end !== 'disconnect') {
      expect(bystander).toEqual([]);
      table.bystander.answer('in the end');
      await turns();
      expect(bystander).toEqual(['done in the end']);
    }
    expect(bystander).toHaveLength(1);
    expect(table.a.stats().pendingCalls).toBe(0);
    table.slow.answer('too late');
    await turns();
    for (const heard of calls) expect(heard).toHaveLength(1);
  });

  it('X-04 by its own node closing, throws: the others are told, and the node closes', async () => {
    await using table = await Table.lay();
    const thrower = (): never => {
      throw new Error('what a caller does');
    };
    const calls = [B, B, table.a.name, table.a.name].map((to) => table.call('slow', to, TIMEOUT, thrower));
    await until(() => table.slow.begun === 4);
    await table.a.close();
    expect(calls).toEqual(calls.map(() => [ENDINGS.cancel]));
    expect(table.a.stats()).toMatchObject({ pendingCalls: 0, counts: { listener_failed: 4 } });
  });

  it('X-04 throws at every item of a stream: it goes on, and so does everyone else', async () => {
    await using table = await Table.lay();
    const bystander = table.call('bystander');
    const ends: unknown[] = [];
    const items: unknown[] = [];
    const name = table.a.functionName('table', 'count');
    table.a.request(
      { node: B },
      { name, args: [], single: false, headers: undefined },
      {},
      {
        item: (value) => {
          items.push(value);
          throw new Error('what a caller does');
        },
        done: (value) => ends.push(value),
        failed: (error) => ends.push(error),
      },
    );
    await until(() => ends.length > 0);
    expect([items, ends]).toEqual([[1, 2, 3], [undefined]]);
    table.bystander.answer(7);
    await until(() => bystander.length > 0);
    expect(bystander).toEqual(['done 7']);
    expect(table.a.stats().counts).toEqual({ dialled: 1, connected: 1, listener_failed: 3 });
  });

  it('X-04 says once in the log what was thrown', async () => {
    await using table = await Table.lay();
    const cause = new Error('what a caller does');
    table.call('add', B, TIMEOUT, () => {
      throw cause;
    });
    await until(() => table.cluster.log.causes.length > 0);
    expect(table.cluster.log.causes).toEqual([cause]);
    expect(table.cluster.log.lines).toEqual([expect.stringContaining('table.add')]);
  });
});

@Controller()
class Echo {
  @MessagePattern('echo')
  echo(value: unknown): unknown {
    return value;
  }

  @MessagePattern('fail')
  fail(): never {
    throw new Error('no');
  }
}

/** Nest's hooks, as a subclass overrides them. */
class ThrowingClient extends GenRpcClient {
  override serializeResponse(response: unknown): unknown {
    if (response === 'bad') throw new RangeError('hook');
    return response;
  }

  override serializeError(): never {
    throw new RangeError('error hook');
  }
}

describe('X-04 a client of Nest whose hooks throw', () => {
  it.each(['send', 'asyncSend'] as const)('X-04 tells the caller of %s so, and nobody else', async (verb) => {
    await using app = await App.start({ controllers: [Echo] });
    const client = new ThrowingClient({ target: SERVER, secret: SECRET, clientPort: app.address.port });
    try {
      const settle = async (pattern: string, value: string): Promise<unknown> =>
        firstValueFrom(client[verb](pattern, value)).catch((error: unknown) => error);
      const ends = await Promise.all([
        settle('echo', 'good'),
        settle('echo', 'bad'),
        settle('fail', 'x'),
        settle('echo', 'good'),
      ]);
      expect(ends).toEqual(['good', new RangeError('hook'), new RangeError('error hook'), 'good']);
      expect(client.unwrap().stats()).toMatchObject({ pendingCalls: 0, counts: { dialled: 1, connected: 1 } });
    } finally {
      await client.close();
    }
  });
});
