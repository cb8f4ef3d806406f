import { Controller } from '@nestjs/common';
import { MessagePattern, Payload } from '@nestjs/microservices';
import { firstValueFrom, throwError } from 'rxjs';
import { describe, expect, it } from 'vitest';
import { Journal, type Occurrence } from '../../lib/connection/journal.js';
import { GenRpcError } from '../../lib/protocol/errors.js';
import { FrameType } from '../../lib/protocol/frame.js';
import { VirtualClock } from '../../lib/testing/virtual-clock.js';
import { pairOf } from '../nest/support.js';
import { Cluster, DRIVERS, TestLog, twoNodes } from '../support/cluster.js';
import { bytesOf, rawFrame, RawPeer } from '../support/raw-peer.js';

const B = 'b@127.0.0.1';
const HIDDEN = 'hidden-from-callers';

function circular(): Error {
  const error = new Error(`${HIDDEN} circular`) as Error & { self?: unknown };
  error.self = error;
  return Object.assign(error, { nested: { error } });
}

const hostile = (target: object): object => {
  const trap = (): never => {
    throw new Error(`${HIDDEN} trap`);
  };
  return new Proxy(target, {
    get: trap,
    has: trap,
    getPrototypeOf: trap,
    ownKeys: trap,
    getOwnPropertyDescriptor: trap,
  });
};

class Unprintable extends Error {
  override get message(): string {
    throw new Error(`${HIDDEN} message`);
  }

  override toString(): string {
    throw new Error(`${HIDDEN} toString`);
  }
}

/** Everything that a function may throw, by name. */
const THROWN: Readonly<Record<string, () => unknown>> = {
  'an Error with a stack and a path': () => new Error(`${HIDDEN} at /home/app/src/orders.ts:17`),
  'an Error with SQL': () =>
    Object.assign(new Error(`${HIDDEN}: duplicate key`), { sql: `INSERT ${HIDDEN}`, code: '23505' }),
  'an Error with a chain of causes': () =>
    new Error(`${HIDDEN} outer`, { cause: new Error(`${HIDDEN} middle`, { cause: new Error(`${HIDDEN} inner`) }) }),
  'an Error with circular fields': circular,
  'an Error with 1 MB of message': () => new Error(HIDDEN.repeat(60_000)),
  'an AggregateError': () => new AggregateError([new Error(HIDDEN)], HIDDEN),
  'a frozen Error': () => Object.freeze(new Error(HIDDEN)),
  'an Error that cannot be printed': () => new Unprintable(),
  'a string': () => HIDDEN,
  'a number': () => 42,
  'a symbol': () => Symbol(HIDDEN),
  'a function': () => (): string => HIDDEN,
  null: () => null,
  undefined: () => undefined,
  'an object': () => ({ [HIDDEN]: HIDDEN }),
  'an object without prototype': () => Object.assign(Object.create(null) as object, { message: HIDDEN }),
  'a Proxy that throws at whoever looks': () => hostile({}),
  'a Proxy of an Error that throws at whoever looks': () => hostile(new Error(HIDDEN)),
  'an Error with a code of ours': () => Object.assign(new Error(HIDDEN), { code: 'timeout' }),
};

/** Every way in which a function may throw. */
const MANNERS: Readonly<Record<string, (cause: () => unknown) => unknown>> = {
  throws: (cause) => {
    throw cause() as Error;
  },
  'rejects with': (cause) => Promise.reject(cause() as Error),
  'returns an Observable of': (cause) => throwError(cause),
  'resolves to an Observable of': (cause) => Promise.resolve(throwError(cause)),
};

const CASES = Object.keys(MANNERS).flatMap((manner) => Object.keys(THROWN).map((thrown) => ({ manner, thrown })));

function failing({ manner, thrown }: (typeof CASES)[number]): () => unknown {
  const throwIt = MANNERS[manner];
  const cause = THROWN[thrown];
  if (throwIt === undefined || cause === undefined) throw new Error('no such case');
  return () => throwIt(cause);
}

async function rejectionOf(reply: Promise<unknown>): Promise<GenRpcError> {
  return reply.then(
    () => expect.fail('it did not fail'),
    (error: GenRpcError) => error,
  );
}

/** All that a remote caller got to see of an error. */
function seenOf(error: GenRpcError): string {
  return [error.message, error.stack, JSON.stringify(error), JSON.stringify(error.details), String(error.cause)].join(
    '\n',
  );
}

describe('E-01 what a function throws', () => {
  it.each(CASES)('E-01 stays there, but for a code and a safe message: $manner $thrown', async (fault) => {
    await using nodes = await twoNodes({ driver: 'memory' });
    nodes.b.register('wrong', { fn: failing(fault) });
    for (const caller of [nodes.a, nodes.b]) {
      const error = await rejectionOf(caller.call(B, 'wrong', 'fn'));
      expect(error).toMatchObject({
        code: 'handler_failed',
        message: 'wrong.fn failed.',
        details: undefined,
        maybeExecuted: true,
      });
      expect(seenOf(error)).not.toContain(HIDDEN);
    }
    expect(nodes.log.lines).toHaveLength(1);
    await expect(nodes.a.call(B, 'math', 'add', [1, 2])).resolves.toBe(3);
    expect(nodes.a.stats().counts.connected).toBe(1);
  });

  it.each(DRIVERS)('E-01 is in the local log, whole, over %s', async (driver) => {
    await using nodes = await twoNodes({ driver });
    const cause = new Error(`${HIDDEN} outer`, { cause: new Error(`${HIDDEN} inner`) });
    nodes.b.register('wrong', { fn: () => Promise.reject(cause) });
    await rejectionOf(nodes.a.call(B, 'wrong', 'fn'));
    expect(nodes.log.lines).toEqual(['"wrong.fn" failed for a@127.0.0.1']);
    expect(nodes.log.causes).toEqual([cause]);
    expect(nodes.b.stats().counts.handler_failed).toBe(1);
  });

  it('E-01 is shown to callers where the node opts in, within 1 KiB', async () => {
    await using nodes = await twoNodes({ options: { exposeErrors: true } });
    nodes.b.register('wrong', {
      short: () => Promise.reject(new Error('shown: at /home/app')),
      long: () => Promise.reject(new Error('ä'.repeat(500_000))),
      unprintable: () => Promise.reject(new Unprintable()),
    });
    const short = await rejectionOf(nodes.a.call(B, 'wrong', 'short'));
    expect(short.message).toMatch(/^Error: shown: at \/home\/app\n {4}at /);
    const long = await rejectionOf(nodes.a.call(B, 'wrong', 'long'));
    expect(Buffer.byteLength(long.message)).toBeLessThanOrEqual(1024);
    expect(long.message).toMatch(/^Error: ä+$/);
    const unprintable = await rejectionOf(nodes.a.call(B, 'wrong', 'unprintable'));
    expect(unprintable.code).toBe('handler_failed');
  });

  it.each(DRIVERS)('E-01 on purpose arrives with its details, and no cause, over %s', async (driver) => {
    await using nodes = await twoNodes({ driver });
    nodes.b.register('wrong', {
      fn: () => {
        const cause = new Error(HIDDEN);
        throw new GenRpcError('handler_failed', 'out of stock', { details: { left: 0 }, cause });
      },
      long: () => {
        throw new GenRpcError('handler_failed', 'x'.repeat(1_000_000), { details: { kept: true } });
      },
      unsendable: () => {
        throw new GenRpcError('handler_failed', 'said', { details: { fn: (): void => {} } });
      },
    });
    const error = await rejectionOf(nodes.a.call(B, 'wrong', 'fn'));
    expect(error).toMatchObject({ code: 'handler_failed', message: 'out of stock', details: { left: 0 } });
    expect(error.cause).toBeUndefined();
    expect(seenOf(error)).not.toContain(HIDDEN);
    const long = await rejectionOf(nodes.a.call(B, 'wrong', 'long'));
    expect(Buffer.byteLength(long.message)).toBeLessThanOrEqual(1024);
    expect(long.details).toEqual({ kept: true });
    for (const caller of [nodes.a, nodes.b]) {
      await expect(caller.call(B, 'wrong', 'unsendable')).rejects.toMatchObject({
        message: 'said',
        details: undefined,
      });
    }
  });
});

@Controller()
class Throwing {
  @MessagePattern('wrong.fn')
  fn(@Payload() fault: (typeof CASES)[number]): unknown {
    return failing(fault)();
  }

  @MessagePattern('right.fn')
  right(): string {
    return 'right';
  }
}

describe('E-01 what a Nest handler throws', () => {
  it.each(CASES)('E-01 stays there, as Nest words it: $manner $thrown', async (fault) => {
    await using pair = await pairOf({ controllers: [Throwing] }, { errors: 'gen_rpc' });
    const error = await rejectionOf(firstValueFrom(pair.caller.send('wrong.fn', fault)));
    expect(error).toMatchObject({ code: 'handler_failed', maybeExecuted: true });
    expect(['Internal server error', 'wrong.fn failed.']).toContain(error.message);
    expect(seenOf(error)).not.toContain(HIDDEN);
    await expect(firstValueFrom(pair.caller.send('right.fn', {}))).resolves.toBe('right');
    expect(pair.caller.unwrap().stats().counts.connected).toBe(1);
    expect(pair.log.lines.filter((line) => line.startsWith('error '))).not.toEqual([]);
  });
});

const OURS = [
  'timeout',
  'cancelled',
  'node_down',
  'connection_lost',
  'protocol_error',
  'refused',
  'unauthorized',
] as const;

describe('E-02 an application error that looks like one of ours', () => {
  it.each([...OURS, 'DEADLINE_EXCEEDED', 'ECONNRESET'])('E-02 is told from the real one: code %s', async (code) => {
    await using nodes = await twoNodes();
    const error = Object.assign(new Error('app'), {
      code,
      name: 'GenRpcError',
      family: 'badtcp',
      maybeExecuted: false,
    });
    nodes.b.register('wrong', { fn: () => Promise.reject(error) });
    const expected = { code: 'handler_failed', family: 'badrpc', maybeExecuted: true };
    await expect(nodes.a.call(B, 'wrong', 'fn')).rejects.toMatchObject(expected);
    await expect(nodes.b.call(B, 'wrong', 'fn')).rejects.toMatchObject(expected);
  });

  it.each(OURS)('E-02 is told from the real one: a GenRpcError %s that the function met itself', async (code) => {
    await using nodes = await twoNodes();
    nodes.b.register('wrong', {
      fn: () => Promise.reject(new GenRpcError(code, 'of db@10.0.0.1', { maybeExecuted: false })),
    });
    for (const caller of [nodes.a, nodes.b]) {
      const error = await rejectionOf(caller.call(B, 'wrong', 'fn'));
      expect(error).toMatchObject({ code: 'handler_failed', maybeExecuted: true, details: { code } });
      expect(seenOf(error)).not.toContain('10.0.0.1');
    }
  });

  it('E-02 the real ones keep their own code', async () => {
    await using nodes = await twoNodes();
    await expect(nodes.a.call(B, 'math', 'never', [], { timeout: 30 })).rejects.toMatchObject({ code: 'timeout' });
    const lost = nodes.a.call(B, 'math', 'never');
    const failed = expect(lost).rejects.toMatchObject({ code: 'connection_lost', family: 'badtcp' });
    while (nodes.b.stats().runningCalls < 2) await new Promise(setImmediate);
    nodes.b.abort();
    await failed;
  });
});

const INJECTED = [
  'line\nfeed',
  'carriage\rreturn',
  'escape \u001b[2J\u001b[31m',
  '%s %d %o %j',
  'nul \0 byte',
  'right to left \u202e mark',
  'line separator \u2028 here',
  'quote " and \\ backslash',
  '🤷',
];
const LONG = 'x'.repeat(1024 * 1024);

function expectCleanLines(lines: readonly string[]): void {
  expect(lines.length).toBeGreaterThan(0);
  for (const line of lines) {
    expect(line).toMatch(/^[\x20-\x7e…]*$/);
    expect(line.length).toBeLessThan(1024);
  }
}

describe('E-03 names that would forge log lines', () => {
  it.each(INJECTED)('E-03 are escaped when a call is refused, and when it fails: %j', async (name) => {
    await using nodes = await twoNodes({ options: { moduleControl: 'blacklist', moduleList: [`closed ${name}`] } });
    nodes.b.register(name, { [name]: () => Promise.reject(new Error('failed')) });
    await rejectionOf(nodes.a.call(B, name, name));
    await rejectionOf(nodes.a.call(B, `closed ${name}`, 'fn'));
    nodes.a.cast(B, `closed ${name}`, 'fn');
    expectCleanLines(nodes.log.lines);
    expect(nodes.log.lines).toHaveLength(2);
  });

  it.each([...INJECTED, LONG])('E-03 are escaped when they should be nodes', async (name) => {
    await using nodes = await twoNodes();
    expect(() => nodes.a.cast(`${name}@host`, 'math', 'add')).toThrow();
    const error = await rejectionOf(nodes.a.call(`${name}@host`, 'math', 'add'));
    expect(error.code).toBe('invalid_argument');
    expectCleanLines([...nodes.log.lines, error.message]);
  });

  it('E-03 are cut when they are long', async () => {
    await using nodes = await twoNodes();
    const peer = await RawPeer.dial('tcp', nodes.discovery.locations.get(B)?.port ?? 0);
    await peer.login('raw@127.0.0.1', B);
    const name = { module: 'm'.repeat(255), fn: `\n${'f'.repeat(30_000)}`, version: '' };
    const payload = { kind: 'none', bytes: new Uint8Array(0) } as const;
    peer.send(
      bytesOf({ type: FrameType.Call, id: 1, name, timeoutMs: 1000, single: false, headers: undefined, payload }),
    );
    await peer.until(() => peer.frames.length === 1);
    expectCleanLines(nodes.log.lines);
    peer.destroy();
  });

  it.each([
    ['a name of the hello', () => Buffer.from('evil\n\u001b[31m@host')],
    ['garbage', () => Buffer.from('GET / HTTP/1.1\r\nHost: \u001b[31m\r\n\r\n')],
  ])('E-03 are escaped when they come before the handshake is done: %s', async (_, bytes) => {
    await using nodes = await twoNodes();
    const peer = await RawPeer.dial('tcp', nodes.discovery.locations.get(B)?.port ?? 0);
    peer.send(rawFrame(1, 0, 0, bytes()));
    await peer.closed();
    while (nodes.log.lines.length === 0) await new Promise(setImmediate);
    expectCleanLines(nodes.log.lines);
  });
});

const KINDS: readonly Occurrence[] = ['protocol_error', 'call_refused', 'handler_failed', 'auth_failed'];

describe('E-05 a flood of errors', () => {
  it('E-05 of 1,000,000 a second is one line a second of each kind, with the number of those not told', async () => {
    const clock = new VirtualClock();
    const log = new TestLog();
    const journal = new Journal(log, clock);
    const SECONDS = 10;
    const PER_TICK = 1000;
    for (let ms = 0; ms < SECONDS * 1000; ms += 10) {
      // A million in the first second; fewer afterwards, which is time enough to see the rhythm.
      const count = ms < 1000 ? PER_TICK * 10 : PER_TICK / 10;
      for (const kind of KINDS) for (let n = 0; n < count; n += 1) journal.note(kind, () => kind);
      await clock.advance(10);
    }
    for (const kind of KINDS) {
      const lines = log.lines.filter((line) => line.startsWith(kind));
      expect(lines).toHaveLength(SECONDS);
      expect(lines[0]).toBe(kind);
      expect(lines[1]).toBe(`${kind} (and 999999 more of this kind)`);
      expect(lines.slice(2)).toEqual(Array.from({ length: SECONDS - 2 }, () => `${kind} (and 9999 more of this kind)`));
      expect(journal.countOf(kind)).toBe(1_000_000 + (SECONDS - 1) * 10_000);
    }
  });

  it('E-05 of real calls and real peers is no flood of lines', async () => {
    await using cluster = new Cluster({ virtual: { seed: 1 } });
    const b = await cluster.start('b');
    b.register('wrong', { fn: () => Promise.reject(new Error('failed')) });
    const a = cluster.create('a', { listen: false });
    const stranger = cluster.create('stranger', {
      listen: false,
      secret: 'another-fine-long-cookie',
      reconnect: { min: 1, max: 1 },
    });
    let settled = 0;
    const count = (): void => void (settled += 1);
    for (let second = 0; second < 5; second += 1) {
      for (let n = 0; n < 500; n += 1) a.call(B, 'wrong', 'fn').catch(count);
      for (let n = 0; n < 500; n += 1) a.call(B, 'nobody', 'fn').catch(count);
      for (let n = 0; n < 20; n += 1) {
        stranger.call(B, 'wrong', 'fn').catch(count);
        await cluster.clock?.advance(50);
      }
    }
    expect(settled).toBe(5 * 1020);
    const lines = cluster.log.lines.filter((line) => line.includes('failed for a@'));
    expect(lines).toHaveLength(5);
    expect(cluster.log.lines.filter((line) => line.includes('Refused'))).toHaveLength(5);
    expect(cluster.log.lines.filter((line) => line.includes('Cannot reach')).length).toBeLessThanOrEqual(6);
    expect(cluster.log.lines.length).toBeLessThan(40);
    expect(b.stats().counts).toMatchObject({ handler_failed: 2500, call_refused: 2500 });
  });
});
