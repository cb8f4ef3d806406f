/** Z-05 … Z-07: a policy that changes while calls run, versions that nobody has, and callers who say they are others. */
import { Controller } from '@nestjs/common';
import { Ctx, EventPattern, MessagePattern } from '@nestjs/microservices';
import { firstValueFrom } from 'rxjs';
import { describe, expect, it } from 'vitest';
import { GenRpcContext } from '../../lib/nest/gen-rpc.context.js';
import { GenRpcRecordBuilder } from '../../lib/nest/gen-rpc.record-builder.js';
import type { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import type { GenRpcError } from '../../lib/protocol/errors.js';
import { FrameType, type Frame } from '../../lib/protocol/frame.js';
import { SeededRandom } from '../../lib/testing/seeded-random.js';
import { pairOf } from '../nest/support.js';
import { Cluster, DRIVERS, type DriverName, type NodeSettings } from '../support/cluster.js';
import { Door, until } from '../support/door.js';
import { bytesOf } from '../support/raw-peer.js';

const A = 'a@127.0.0.1';
const B = 'b@127.0.0.1';

/** Where a call comes from: another node, or the own one. */
const WAYS = ['over tcp', 'over memory', 'of the own node'] as const;
type Way = (typeof WAYS)[number];

async function stage(way: Way, options: NodeSettings = {}) {
  const driver: DriverName = way === 'over tcp' ? 'tcp' : 'memory';
  const cluster = new Cluster({ driver });
  const b = await cluster.start('b', options);
  const a = way === 'of the own node' ? b : cluster.create('a', { listen: false });
  return Object.assign(cluster, { a, b });
}

const codeOf = (call: Promise<unknown>): Promise<unknown> =>
  call.then(
    () => 'ok',
    ({ code }: GenRpcError) => code,
  );

describe.each(WAYS)('Z-05 a blacklist that is set while functions run, for calls %s', (way) => {
  async function underway() {
    const nodes = await stage(way);
    const ran: string[] = [];
    let finish = (_: string): void => {};
    const result = new Promise<string>((resolve) => (finish = resolve));
    for (const module of ['adm', 'admin', 'adm.users', 'ad', 'Admin', 'badm', '']) {
      nodes.b.register(module, {
        slow: () => (ran.push(`${module} slow`), result),
        quick: () => ran.push(`${module} quick`),
      });
    }
    const running = nodes.a.call(B, 'admin', 'slow');
    await until(() => ran.length === 1);
    return Object.assign(nodes, { running, ran, finish: (value: string) => finish(value) });
  }

  it('Z-05 lets the running call finish, and refuses the next', async () => {
    await using nodes = await underway();
    nodes.b.setModulePolicy('blacklist', ['adm*']);
    for (const module of ['adm', 'admin', 'adm.users']) {
      expect(await codeOf(nodes.a.call(B, module, 'quick'))).toBe('unauthorized');
      expect(await codeOf(nodes.a.call(B, module, 'slow'))).toBe('unauthorized');
    }
    for (const module of ['ad', 'Admin', 'badm', '']) expect(await codeOf(nodes.a.call(B, module, 'quick'))).toBe('ok');
    expect(nodes.ran).toEqual(['admin slow', 'ad quick', 'Admin quick', 'badm quick', ' quick']);
    nodes.finish('done');
    expect(await nodes.running).toBe('done');
  });

  it('Z-05 refuses casts and broadcasts too, and counts them', async () => {
    await using nodes = await underway();
    nodes.b.setModulePolicy('blacklist', ['adm*']);
    nodes.a.cast(B, 'admin', 'quick');
    nodes.a.abcast([B], 'admin.quick');
    nodes.a.evalEverywhere([B], 'admin', 'quick');
    expect(await nodes.a.sbcast([B], 'admin.quick')).toEqual({ good: [], bad: [B] });
    expect(await nodes.a.sbcast([B], 'badm.quick')).toEqual({ good: [B], bad: [] });
    await until(() => nodes.b.stats().counts.cast_failed === 4);
    expect(nodes.ran).toEqual(['admin slow', 'badm quick']);
    nodes.finish('done');
    await nodes.running;
  });

  it('Z-05 refuses ordered casts that arrived before, and wait their turn', async () => {
    await using nodes = await underway();
    for (const module of ['admin', 'admin', 'badm']) nodes.a.cast(B, module, 'slow', [], { ordered: true });
    await until(() => nodes.ran.length === 2 && nodes.b.stats().runningCalls >= 3);
    nodes.b.setModulePolicy('blacklist', ['adm*']);
    nodes.finish('done');
    await nodes.running;
    await until(() => nodes.b.stats().runningCalls === 0);
    expect(nodes.ran).toEqual(['admin slow', 'admin slow', 'badm slow']);
    expect(nodes.b.stats().counts).toMatchObject({ cast_failed: 1, call_refused: 1 });
  });

  it('Z-05 forgets what was found before, and remembers what is allowed again', async () => {
    await using nodes = await stage(way);
    nodes.b.register('admin', { quick: () => 'ran' }, { version: '1.2.0' });
    const call = (): Promise<unknown> => codeOf(nodes.a.call(B, { module: 'admin', version: '^1.0.0' }, 'quick'));
    expect([await call(), await call()]).toEqual(['ok', 'ok']);
    nodes.b.setModulePolicy('blacklist', ['adm*']);
    expect([await call(), await call()]).toEqual(['unauthorized', 'unauthorized']);
    nodes.b.setModulePolicy('whitelist', ['*min', 'adm']);
    expect(await call()).toBe('unauthorized');
    nodes.b.setModulePolicy('whitelist', ['a*']);
    expect(await call()).toBe('ok');
    nodes.b.setModulePolicy('disabled');
    expect(await call()).toBe('ok');
  });
});

/** `shop` in several versions, `plain` in none, and `vault`, which nobody may call. */
function stock(b: GenRpcNode): void {
  const serve = (what: string) => (): string => what;
  b.register('shop', { buy: serve('1.0.0'), legacy: serve('legacy') }, { version: '1.0.0' });
  b.register('shop', { buy: serve('1.10.0') }, { version: '1.10.0' });
  b.register('shop', { buy: serve('1.9.0'), nine: serve('nine') }, { version: '1.9.0' });
  b.register('shop', { buy: serve('2.0.0-beta.1') }, { version: '2.0.0-beta.1' });
  b.register('label', { buy: serve('1.0') }, { version: '1.0' });
  b.register('plain', { buy: serve('plain') });
  b.register('vault', { buy: serve('gold'), bury: serve('gold') }, { version: '1.0.0' });
  b.setModulePolicy('whitelist', ['shop', 'label', 'plain', 'nothing']);
}

/** Module, version, function, and how a call of it ends. */
const ASKED: readonly (readonly [string, string, string, string])[] = [
  ['shop', '', 'buy', '1.10.0'],
  ['shop', '', 'legacy', 'legacy'],
  ['shop', '', 'sell', 'undefined_function'],
  ['shop', '1.0.0', 'buy', '1.0.0'],
  ['shop', '1.0.0', 'nine', 'undefined_function'],
  ['shop', '^1.0.0', 'buy', '1.10.0'],
  ['shop', '1.x', 'buy', '1.10.0'],
  ['shop', '~1.9.0', 'buy', '1.9.0'],
  ['shop', '>=1 <1.9', 'buy', '1.0.0'],
  ['shop', '1.0.0 - 1.9.0', 'buy', '1.9.0'],
  ['shop', '^3.0.0 || ~1.9', 'nine', 'nine'],
  ['shop', '^1.0.0', 'nine', 'nine'],
  ['shop', '^1.0.0', 'sell', 'undefined_function'],
  ['shop', '^1.10.0', 'legacy', 'undefined_function'],
  ['shop', '^2.0.0', 'buy', 'incompatible'],
  ['shop', '1.0', 'buy', 'incompatible'],
  ['shop', '1', 'buy', 'incompatible'],
  ['shop', 'v1.0.0', 'buy', 'incompatible'],
  ['shop', '1.0.0 ', 'buy', 'incompatible'],
  ['shop', '9.9.9', 'buy', 'incompatible'],
  ['shop', '9.9.9', 'sell', 'incompatible'],
  ['shop', 'latest', 'buy', 'incompatible'],
  ['shop', '1.0.0\0', 'buy', 'incompatible'],
  ['label', '1.0', 'buy', '1.0'],
  ['label', '1.0.0', 'buy', 'incompatible'],
  ['label', '^1.0', 'buy', 'incompatible'],
  ['plain', '', 'buy', 'plain'],
  ['plain', '1.0.0', 'buy', 'incompatible'],
  ['plain', '*', 'buy', 'incompatible'],
  ['nothing', '1.0.0', 'buy', 'incompatible'],
  ['nothing', '', 'buy', 'undefined_function'],
];

const INHERITED = ['__proto__', 'constructor', 'prototype', 'toString', 'valueOf', 'hasOwnProperty', 'length'];

/** As long as a caller may write them, and made to keep a parser busy. */
const ABSURD: readonly string[] = [
  '^'.repeat(64),
  '*'.repeat(64),
  '|'.repeat(64),
  '1'.repeat(64),
  'x'.repeat(64),
  '.'.repeat(64),
  '-'.repeat(64),
  '>=<'.repeat(21),
  `${' '.repeat(63)}>`,
  `>${' '.repeat(62)}x`,
  `^1.0.0${' '.repeat(57)}x`,
  `1.0.0-${'a'.repeat(57)}^`,
  `1.0.0-${'0'.repeat(57)}*`,
  `^1.0.0-${'a.'.repeat(28)}`,
  `~1.0.0+${'-'.repeat(57)}`,
  `${'1.'.repeat(31)}x`,
  `${'1 - '.repeat(15)}3`,
  `^${'9'.repeat(20)}.0.0`,
  '>1.0.0 <1.0.0 || ^1 ^2 || >=0 <0',
  '😀'.repeat(16),
];

async function endOf(node: GenRpcNode, module: string, version: string, fn: string): Promise<unknown> {
  return node.call(B, { module, version }, fn).catch(({ code }: GenRpcError) => code);
}

describe.each(WAYS)('Z-06 versions, for calls %s', (way) => {
  it.each(ASKED)('Z-06 %s, version "%s", function %s: %s', async (module, version, fn, expected) => {
    await using nodes = await stage(way);
    stock(nodes.b);
    // Twice: what is found is remembered.
    expect(await endOf(nodes.a, module, version, fn)).toBe(expected);
    expect(await endOf(nodes.a, module, version, fn)).toBe(expected);
  });

  it('Z-06 that every object has, and absurd ones, are none, and take no time', async () => {
    await using nodes = await stage(way);
    stock(nodes.b);
    const random = new SeededRandom(6);
    const letters = ' .0123456789xX*^~<>=|-+va';
    const garbage = Array.from({ length: 2000 }, () =>
      Array.from({ length: 64 }, () => letters[random.below(letters.length)]).join(''),
    );
    const before = performance.now();
    for (const version of INHERITED) {
      expect(await endOf(nodes.a, 'shop', version, 'buy'), version).toBe('incompatible');
      expect(await endOf(nodes.a, version, version, version), version).toBe('unauthorized');
    }
    // Some of it npm reads as a range: nothing between two bars is any version.
    const known = new Set(['incompatible', '1.0.0', '1.9.0', '1.10.0', '2.0.0-beta.1']);
    for (const version of [...ABSURD, ...garbage]) {
      expect(known, version).toContain(await endOf(nodes.a, 'shop', version, 'buy'));
    }
    // 0.1 ms a call would be 0.2 s.
    expect(performance.now() - before).toBeLessThan(10_000);
  });

  it('Z-06 are told of only to callers of that module, and repeated to nobody in full', async () => {
    await using nodes = await stage(way);
    stock(nodes.b);
    const refusal = await nodes.a.call(B, { module: 'shop', version: '9.9.9' }, 'buy').catch((error: unknown) => error);
    expect(refusal).toMatchObject({
      code: 'incompatible',
      message: expect.stringContaining('1.0.0, 1.9.0, 1.10.0') as string,
    });
    for (const version of ['', '1.0.0', '9.9.9', '^1.0.0', '__proto__']) {
      const closed = await nodes.a.call(B, { module: 'vault', version }, 'buy').catch((error: unknown) => error);
      expect(String(closed)).not.toMatch(/\d/);
    }
  });
});

/** Names that `b` has and that it has not, none of which anybody may call. */
const CLOSED = ['', '1.0.0', '9.9.9', '^1.0.0', '__proto__', 'not a version'].flatMap((version) =>
  [
    ['vault', 'buy'],
    ['vault', 'bur'],
    ['vault', 'nothing'],
    ['vaul', 'buy'],
    ['shopp', 'buy'],
    ['nowhere', 'nothing'],
    ['__proto__', 'toString'],
  ].map(([module = '', fn = '']) => ({ module, fn, version })),
);

/** An answer, apart from the names that were asked for. */
function anonymous(frame: Frame | undefined, { module, fn }: { module: string; fn: string }): unknown {
  if (frame?.type !== FrameType.Error) return frame;
  const { code, message, payload } = frame;
  return { code, message: message.replaceAll(`${module}.${fn}`, 'M.F'), details: [payload.kind, payload.bytes.length] };
}

describe('Z-06 callers who may not call a module', () => {
  it('Z-06 get one answer, byte for byte, whether there is such a thing or not', async () => {
    await using door = await Door.open('tcp');
    stock(door.node);
    door.node.setModulePolicy('whitelist', ['shop', 'label', 'plain', 'nothing', 'health', 'canary']);
    const peer = await door.dial();
    await peer.login(A, door.name);
    const answers = [];
    for (const deliver of [false, true]) {
      for (const name of CLOSED) {
        // Nor are arguments looked at: these cannot be read.
        const payload = { kind: 'codec', bytes: Buffer.of(0xc1) } as const;
        const call = {
          type: FrameType.Call,
          id: answers.length + 1,
          timeoutMs: 1000,
          single: false,
          headers: undefined,
        } as const;
        peer.send(bytesOf({ ...call, name, deliver, payload }));
        await peer.until(() => peer.frames.length > answers.length);
        answers.push(anonymous(peer.frames.at(-1), name));
      }
    }
    expect(new Set(answers.map((answer) => JSON.stringify(answer)))).toEqual(
      new Set([JSON.stringify({ code: 'unauthorized', message: 'M.F is not callable here.', details: ['none', 0] })]),
    );
    expect(door.counts).toMatchObject({ call_refused: answers.length });
  });

  it('Z-06 of a blacklist, too', async () => {
    await using nodes = await stage('over memory');
    stock(nodes.b);
    nodes.b.setModulePolicy('blacklist', ['vault', 'ghost']);
    const said = async (module: string, version: string): Promise<string> => {
      const error: unknown = await nodes.a.call(B, { module, version }, 'buy').catch((failure: unknown) => failure);
      const { code, message, details, maybeExecuted } = error as GenRpcError;
      return JSON.stringify({ code, message: message.replaceAll(module, 'M'), details, maybeExecuted });
    };
    for (const version of ['', '1.0.0', '9.9.9', '*'])
      expect(await said('vault', version)).toBe(await said('ghost', version));
  });

  it('Z-06 a version that is longer than callers may write it is one that nobody has', async () => {
    await using door = await Door.open('tcp');
    stock(door.node);
    door.node.setModulePolicy('disabled');
    const peer = await door.dial();
    await peer.login(A, door.name);
    const versions = [
      '^1.0.0',
      '>=1.0.0 '.repeat(30),
      '1'.repeat(255),
      `^1.0.0${' '.repeat(249)}`,
      '||'.repeat(127),
      '😀'.repeat(63),
    ];
    for (const [index, version] of versions.entries()) {
      const name = { module: 'shop', fn: 'buy', version };
      const payload = { kind: 'codec', bytes: Buffer.of(0x90) } as const;
      const call = { type: FrameType.Call, id: index + 1, timeoutMs: 1000, single: false, headers: undefined } as const;
      peer.send(bytesOf({ ...call, name, payload }));
    }
    await peer.until(() => peer.frames.length === versions.length);
    for (const frame of peer.frames) {
      if (frame.type === FrameType.Error)
        expect([frame.code, frame.message.length < 700]).toEqual(['incompatible', true]);
      else expect(frame.type).toBe(FrameType.Result);
    }
    expect(door.node.stats().acceptedConnections).toBe(2);
  });
});

describe.each(WAYS)('Z-06 what may have been meant, for calls %s', (way) => {
  const hintOf = async (node: GenRpcNode, module: string, fn: string): Promise<string> => {
    const error: unknown = await node.call(B, module, fn).catch((failure: unknown) => failure);
    return `${(error as GenRpcError).code}: ${/Did you mean (.*)\?/.exec((error as GenRpcError).message)?.[1] ?? 'nothing'}`;
  };

  it('Z-06 is named of modules that the caller may call, and of no others', async () => {
    await using nodes = await stage(way);
    nodes.b.register('orders', { create: () => 1 });
    nodes.b.register('orderz', { create: () => 1, cancel: () => 1 });
    nodes.b.register('secrets', { reveal: () => 1 });
    expect(await hintOf(nodes.a, 'orders', 'creat')).toBe('undefined_function: orders.create');
    expect(await hintOf(nodes.a, 'secret', 'reveal')).toBe('undefined_function: secrets.reveal');
    expect(await hintOf(nodes.a, 'orderzy', 'cancel')).toBe('undefined_function: orderz.cancel');
    nodes.b.setModulePolicy('blacklist', ['secrets', 'orderz']);
    expect(await hintOf(nodes.a, 'orders', 'creat')).toBe('undefined_function: orders.create');
    for (const [module, fn] of [
      ['secret', 'reveal'],
      ['orderzy', 'cancel'],
      ['orders', 'cancel'],
    ] as const) {
      expect(await hintOf(nodes.a, module, fn)).toBe('undefined_function: nothing');
    }
    expect(await hintOf(nodes.a, 'secrets', 'revel')).toBe('unauthorized: nothing');
    nodes.b.setModulePolicy('whitelist', ['orders', 'secret']);
    expect(await hintOf(nodes.a, 'secret', 'reveal')).toBe('undefined_function: nothing');
    expect(await hintOf(nodes.a, 'secrets', 'revel')).toBe('unauthorized: nothing');
  });
});

/** What somebody may write into headers who wants to be somebody else. */
const SPOOFED: Readonly<Record<string, string>> = {
  node: B,
  caller: B,
  from: B,
  name: B,
  address: '10.0.0.1',
  'x-node': B,
  'x-caller': B,
  'x-forwarded-for': '10.0.0.1',
  'gen-rpc-node': B,
  authorization: 'admin',
  incarnation: '00',
  life: '00',
  toString: B,
};

describe.each(DRIVERS)('Z-07 a caller that says it is another, over %s', (driver) => {
  it('Z-07 is who its handshake proved, whatever its headers and arguments say', async () => {
    await using cluster = new Cluster({ driver });
    const b = await cluster.start('b');
    const seen: string[] = [];
    const who = (
      _args: unknown,
      { caller, headers }: { caller: { node: string; address: string }; headers: unknown },
    ): void => {
      seen.push(`${caller.node} ${caller.address} ${(headers as Map<string, string>).get('node')}`);
    };
    b.register('who', { calls: who });
    const a = cluster.create('a', { listen: false });
    const headers = SPOOFED;
    const args = [{ caller: { node: B }, node: B }];
    await a.call(B, 'who', 'calls', args, { headers });
    await a.asyncCall(B, 'who', 'calls', args, { headers }).yield();
    await a.multicall([B], 'who', 'calls', args, { headers });
    await a.sbcast([B], 'who.calls', args, { headers });
    a.abcast([B], 'who.calls', args, { headers });
    a.cast(B, 'who', 'calls', args, { headers, ordered: true });
    a.cast({ node: B, key: B }, 'who', 'calls', args, { headers });
    await until(() => seen.length === 7);
    expect(new Set(seen)).toEqual(new Set([`${A} 127.0.0.1 ${B}`]));
    await b.call(B, 'who', 'calls', args, { headers: { ...headers, node: A } });
    expect(seen.at(-1)).toBe(`${B} local ${A}`);
  });
});

@Controller()
class Who {
  readonly seen: unknown[] = [];

  @MessagePattern('who')
  who(@Ctx() context: GenRpcContext): unknown {
    return [context.getNode(), context.getAddress(), context.getMetadata()];
  }

  @EventPattern('heard')
  heard(@Ctx() context: GenRpcContext): void {
    this.seen.push([context.getNode(), context.getAddress(), context.getMetadata()]);
  }
}

describe('Z-07 a client of Nest that says it is another', () => {
  it('Z-07 is who its handshake proved; its metadata stays what it is, metadata', async () => {
    await using pair = await pairOf({ controllers: [Who] }, { name: A });
    const message = new GenRpcRecordBuilder({ node: B }).setHeaders(SPOOFED).build();
    const seen = await firstValueFrom(pair.caller.send('who', message));
    expect(seen).toEqual([A, '127.0.0.1', { ...SPOOFED }]);
    pair.caller.emit('heard', message);
    const controller = pair.app.get(Who);
    await until(() => controller.seen.length === 1);
    expect(controller.seen).toEqual([seen]);
  });

  it('Z-07 reaches for no prototype by its metadata', async () => {
    await using pair = await pairOf({ controllers: [Who] }, { name: A });
    const headers = JSON.parse('{"__proto__": "x", "node": "b@127.0.0.1"}') as Record<string, string>;
    const node = pair.caller.unwrap();
    const seen = await node
      .call<unknown[]>(pair.node.name, '', 'who', [1], { headers })
      .catch((error: unknown) => error);
    expect(seen).toMatchObject({ code: 'encode_error' });
    expect(Object.getPrototypeOf({})).toBe(Object.prototype);
    pair.caller.emit('heard', new GenRpcRecordBuilder(1).setHeaders(headers).build());
    const controller = pair.app.get(Who);
    await until(() => controller.seen.length === 1);
    const [[from, , metadata]] = controller.seen as [[string, string, object]];
    expect([from, Object.getPrototypeOf(metadata)]).toEqual([A, Object.prototype]);
  });
});
