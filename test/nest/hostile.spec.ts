/** Nest applications among peers that mean no good: what they send hurts nobody but themselves. */
import { Controller, type PipeTransform, UsePipes, ValidationPipe } from '@nestjs/common';
import { EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import { IsInt } from 'class-validator';
import { firstValueFrom } from 'rxjs';
import { describe, expect, it } from 'vitest';
import type { GenRpcClient } from '../../lib/nest/gen-rpc.client.js';
import { FrameType, MAX_CREDIT, type CallFrame, type ErrorFrame, type Frame } from '../../lib/protocol/frame.js';
import { MsgpackrCodec } from '../../lib/protocol/msgpack/msgpackr.codec.js';
import { NO_PAYLOAD } from '../../lib/protocol/payload.js';
import { SeededRandom } from '../../lib/testing/seeded-random.js';
import { until } from '../support/door.js';
import { bytesOf, headOf, rawFrame, RawPeer, RawServer } from '../support/raw-peer.js';
import { App, SERVER, signalOf, type AppSettings } from './support.js';

const codec = new MsgpackrCodec();
const encoded = (value: unknown): Buffer => Buffer.from(codec.encode(value));
const bytes = (hex: string): Buffer => Buffer.from(hex.replaceAll(' ', ''), 'hex');

/** What ran of the application of a test. */
const ran: (readonly [what: string, value: unknown])[] = [];

class Seen implements PipeTransform {
  transform(value: unknown): unknown {
    ran.push(['pipe', value]);
    return value;
  }
}

class Dto {
  @IsInt()
  id!: number;
}

@Controller()
class Handlers {
  readonly release = signalOf();

  @EventPattern('waits')
  waits(@Payload() _data: unknown): Promise<void> {
    return this.release.promise;
  }

  @MessagePattern('echo')
  echo(@Payload() data: unknown): unknown {
    return data;
  }

  @UsePipes(Seen)
  @MessagePattern('guarded')
  guarded(@Payload() data: unknown): unknown {
    ran.push(['handler', data]);
    return data;
  }

  @UsePipes(Seen, new ValidationPipe({ whitelist: true, transform: true }))
  @MessagePattern('validated')
  validated(@Payload() dto: Dto): Dto {
    ran.push(['handler', dto]);
    return dto;
  }
}

/** An application with a caller that must not notice anything. */
class Site {
  private constructor(
    readonly app: App,
    private readonly healthy: GenRpcClient,
  ) {}

  static async open(options: AppSettings['options'] = {}): Promise<Site> {
    ran.length = 0;
    const app = await App.start({ controllers: [Handlers], options });
    const site = new Site(app, app.client());
    await site.isFine();
    return site;
  }

  /** Somebody without a secret. */
  dial(): Promise<RawPeer> {
    return RawPeer.dial('tcp', this.app.address.port);
  }

  /** Somebody with it. */
  async login(): Promise<RawPeer> {
    return (await this.dial()).login('raw@127.0.0.1', SERVER);
  }

  /** The healthy caller is answered, over the connection that it had from the beginning. */
  async isFine(): Promise<void> {
    await expect(firstValueFrom(this.healthy.send('echo', 'still here'))).resolves.toBe('still here');
    expect(this.healthy.unwrap().stats().counts).toEqual({ dialled: 1, connected: 1 });
  }

  /** Nothing is left of the others. */
  async [Symbol.asyncDispose](): Promise<void> {
    await until(() => this.app.node.stats().acceptedConnections === 1 && this.app.node.stats().handshakes === 0);
    await this.isFine();
    expect(this.app.node.stats()).toMatchObject({ runningCalls: 0 });
    await this.app[Symbol.asyncDispose]();
  }
}

/** A message for the handler of a pattern, as a client of Nest sends it. */
function callOf(id: number, pattern: string): CallFrame {
  const name = { module: '', fn: pattern, version: '' };
  const call = { type: FrameType.Call, id, name, timeoutMs: 5000, single: true, headers: undefined } as const;
  return { ...call, payload: NO_PAYLOAD };
}

function message(id: number, pattern: string, payload: Buffer, changes: Partial<CallFrame> = {}): Buffer {
  return bytesOf({ ...callOf(id, pattern), payload: { kind: 'codec', bytes: payload }, ...changes });
}

async function answerTo(peer: RawPeer, id: number): Promise<Frame> {
  const isAnswer = (frame: Frame): boolean => 'id' in frame && frame.id === id;
  await peer.until(() => peer.frames.some(isAnswer));
  return peer.frames.find(isAnswer) ?? expect.fail();
}

const HUGE = rawFrame(FrameType.Call, 0x09, 1, Buffer.alloc(0), 0xffffffff);
const HALF = message(1, 'echo', encoded('half')).subarray(0, 20);

describe('what is no message', () => {
  it.each<[string, Buffer]>([
    ['garbage', Buffer.from(new SeededRandom(1).bytes(4096))],
    ['an HTTP request', Buffer.from('GET / HTTP/1.1\r\nHost: b\r\n\r\n')],
    ["a message of Nest's own TCP", Buffer.from('52#{"pattern":"guarded","data":{},"id":"1234567890abcdef"}')],
    ['an endless length', HUGE],
  ])('N-68 of a stranger ends his connection: %s', async (_, sent) => {
    await using site = await Site.open();
    const stranger = await site.dial();
    stranger.send(sent);
    await stranger.closed();
    expect(stranger.received).toEqual([]);
  });

  it.each<[string, Buffer]>([
    ['garbage', Buffer.from(new SeededRandom(2).bytes(4096))],
    ['an endless length', HUGE],
    ['half a message that does not go on', HALF],
  ])('N-68 of a node ends its connection: %s', async (_, sent) => {
    await using site = await Site.open({ frameReadTimeout: 150 });
    const peer = await site.login();
    peer.send(sent);
    await peer.closed();
    await until(() => site.app.node.stats().counts.protocol_error === 1);
  });

  it.each(['end', 'reset'] as const)('N-68 half a message, and then the %s of the connection', async (how) => {
    await using site = await Site.open();
    const peer = await site.login();
    peer.send(HALF);
    if (how === 'end') peer.socket.end();
    else peer.reset();
    await peer.closed();
  });
});

describe('12,000 small frames', () => {
  const COUNT = 12_000;

  it('N-69 in one write are all answered', async () => {
    await using site = await Site.open({ concurrency: { callsPerConnection: COUNT, loopDelay: Infinity } });
    const peer = await site.login();
    const all = Array.from({ length: COUNT }, (_, n) => message(n + 1, 'guarded', encoded(n)));
    peer.send(Buffer.concat(all));
    await site.isFine();
    await peer.until(() => peer.frames.length === COUNT);
    expect(new Set(peer.frames.map(({ type }) => type))).toEqual(new Set([FrameType.Result]));
    expect(ran.filter(([what]) => what === 'handler')).toHaveLength(COUNT);
    peer.destroy();
  });

  it('N-69 of a client, in one turn, are all answered', async () => {
    await using site = await Site.open({ concurrency: { callsPerConnection: COUNT, loopDelay: Infinity } });
    const client = site.app.client();
    const numbers = Array.from({ length: COUNT }, (_, n) => n);
    const replies = numbers.map((n) => firstValueFrom(client.send('guarded', n)));
    await expect(Promise.all(replies)).resolves.toEqual(numbers);
    await client.close();
  });
});

const NO_HANDLER = 'There is no matching message handler defined in the remote service.';

describe('a pattern that means no good', () => {
  it.each([
    '__proto__',
    'constructor',
    'toString',
    'guarded\0',
    '{"cmd":',
    `${'[{"a":'.repeat(100)}1`,
    'é'.repeat(300),
  ])('N-70 finds no handler, and the connection goes on: %j', async (pattern) => {
    await using site = await Site.open();
    const peer = await site.login();
    peer.send(message(1, pattern, encoded({})), message(2, 'echo', encoded('and now')));
    expect(await answerTo(peer, 1)).toMatchObject({ type: FrameType.Error, code: 'undefined_function' });
    expect(await answerTo(peer, 2)).toMatchObject({ type: FrameType.Result });
    peer.destroy();
  });

  const circular: Record<string, unknown> = {};
  circular['self'] = circular;
  it.each<[string, unknown]>([
    ['circular', circular],
    ['a throw', { toJSON: () => expect.fail('no pattern') }],
    [
      'a getter that throws',
      Object.defineProperty({}, 'cmd', { enumerable: true, get: () => expect.fail('no pattern') }),
    ],
    ['a symbol', Symbol('pattern')],
    ['a bigint', { cmd: 1n }],
    ['text without end', 'x'.repeat(100_000)],
    ['a thousand keys', Object.fromEntries(Array.from({ length: 1000 }, (_, n) => [`key${n}`, n]))],
    ['what reaches for a prototype', JSON.parse('{ "__proto__": { "cmd": "echo" } }')],
  ])('N-70 is an error of its own message: %s', async (_, pattern) => {
    await using site = await Site.open();
    const client = site.app.client();
    const isError = (error: unknown): boolean => error === NO_HANDLER || error instanceof Error;
    await expect(firstValueFrom(client.send(pattern, {}))).rejects.toSatisfy(isError);
    await expect(client.asyncSend(pattern, {}).yield()).rejects.toSatisfy(isError);
    await expect(client.stream(pattern, {})[Symbol.asyncIterator]().next()).rejects.toSatisfy(isError);
    await expect(firstValueFrom(client.send('echo', 'next'))).resolves.toBe('next');
    await client.close();
  });
});

/** `{ [key]: { polluted: 1 }, id: 1 }`, as bytes that no encoder of ours makes. */
function reaching(key: string): Buffer {
  const text = (value: string): Buffer => Buffer.concat([Buffer.of(0xa0 | value.length), Buffer.from(value)]);
  return Buffer.concat([bytes('82'), text(key), bytes('81'), text('polluted'), bytes('01'), text('id'), bytes('01')]);
}

describe('keys of a DTO that reach for a prototype', () => {
  it.each(['__proto__', 'constructor', 'prototype'])('Z-09 %s never comes to a pipe', async (key) => {
    await using site = await Site.open();
    const peer = await site.login();
    peer.send(message(1, 'validated', reaching(key)));
    const refusal = (await answerTo(peer, 1)) as ErrorFrame;
    expect(refusal).toMatchObject({ type: FrameType.Error, code: 'protocol_error' });
    expect(refusal.message).toContain(`the key ${key}`);
    expect(ran).toEqual([]);
    expect(({} as { polluted?: unknown }).polluted).toBeUndefined();
    peer.send(message(2, 'validated', encoded({ id: 1, more: true })));
    expect(codec.decode(((await answerTo(peer, 2)) as CallFrame).payload.bytes)).toEqual({ id: 1 });
    peer.destroy();
  });

  it('Z-09 are not even sent by a client', async () => {
    await using site = await Site.open();
    const client = site.app.client();
    const evil: unknown = JSON.parse('{ "id": 1, "__proto__": { "polluted": 1 } }');
    await expect(firstValueFrom(client.send('validated', evil))).rejects.toMatchObject({ code: 'encode_error' });
    expect(ran).toEqual([]);
    await client.close();
  });
});

describe('a server that answers for others', () => {
  const EVIL = 'evil@127.0.0.1';
  const result = (id: number, value: string): Frame => {
    return { type: FrameType.Result, id, payload: { kind: 'codec', bytes: encoded(value) } };
  };

  it('Z-10 settles no message that another node was sent, whatever numbers it tries', async () => {
    const [asked, release] = [signalOf(), signalOf()];
    @Controller()
    class Slow {
      @MessagePattern('slow')
      async slow(): Promise<string> {
        asked.resolve();
        await release.promise;
        return 'honest';
      }
    }
    await using honest = await App.start({ controllers: [Slow] });
    await using raw = await RawServer.listen('tcp');
    const nodes = { [EVIL]: { port: raw.port } };
    const client = honest.client({ nodes });
    const slow = [1, 2, 3].map(() => firstValueFrom(client.send('slow', {})));
    await asked.promise;
    const connected = client.unwrap().connect(EVIL);
    const peer = await (await raw.accept()).welcome(EVIL);
    await connected;
    peer.send(bytesOf(...Array.from({ length: 100 }, (_, id) => result(id + 1, 'forged'))));
    await until(() => client.unwrap().stats().counts.late_frames === 100);
    expect(client.unwrap().stats().pendingCalls).toBe(3);
    release.resolve();
    await expect(Promise.all(slow)).resolves.toEqual(['honest', 'honest', 'honest']);
    peer.destroy();
  });

  it("Z-10 settles no message of another caller, by that one's number", async () => {
    await using raw = await RawServer.listen('tcp');
    await using app = await App.start({ controllers: [Handlers] });
    const [one, two] = [0, 1].map(() => app.client({ target: EVIL, nodes: { [EVIL]: { port: raw.port } } }));
    if (one === undefined || two === undefined) return expect.fail();
    const first = firstValueFrom(one.send('echo', 1));
    const toFirst = await (await raw.accept()).welcome(EVIL);
    const others = [1, 2, 3].map(() => firstValueFrom(two.send('echo', 2)));
    const toSecond = await (await raw.accept()).welcome(EVIL);
    await toSecond.until(() => toSecond.frames.length === 3);
    const ids = toSecond.frames.map((frame) => ('id' in frame ? frame.id : 0));
    const [own] = toFirst.frames.map((frame) => ('id' in frame ? frame.id : 0));
    const foreign = ids.filter((id) => id !== own);
    toFirst.send(bytesOf(...foreign.map((id) => result(id, 'crossed'))));
    await until(() => one.unwrap().stats().counts.late_frames === foreign.length);
    expect([one.unwrap().stats().pendingCalls, two.unwrap().stats().pendingCalls]).toEqual([1, 3]);
    toFirst.send(bytesOf(result(own ?? 0, 'first')));
    toSecond.send(bytesOf(...ids.map((id) => result(id, 'second'))));
    await expect(Promise.all([first, ...others])).resolves.toEqual(['first', 'second', 'second', 'second']);
  });
});

describe('a peer that has proved who it is', () => {
  const withByte = (at: number, value: number): Buffer => {
    const frame = Buffer.from(message(1, 'guarded', encoded(1)));
    frame[at] = value;
    return frame;
  };
  const head = headOf(callOf(1, 'guarded'), 20_000);
  const announcedTwice = Buffer.concat([head, head]);
  const credit = (connection: number): Frame => ({ type: FrameType.Credit, id: 0, connection, stream: 0 });

  it.each<[string, Buffer]>([
    ['F-02 a length of 0xffffffff', HUGE],
    ['F-04 an empty CALL', rawFrame(FrameType.Call, 0, 1, Buffer.alloc(0))],
    ['F-05 a reserved byte', withByte(6, 1)],
    ['F-05 an unknown type', withByte(4, 0x7f)],
    ['F-06 an item of a stream that was never opened', rawFrame(FrameType.Item, 0, 99, Buffer.alloc(4))],
    ['F-07 a part of a message that was never announced', rawFrame(FrameType.Chunk, 0, 9, Buffer.alloc(9))],
    ['F-07 a message that is announced to be larger than any', headOf(callOf(1, 'guarded'), 0xffff_ffff)],
    ['F-07 a message that is announced twice', announcedTwice],
    ['F-13 an answer, which only servers give', bytesOf({ type: FrameType.Result, id: 1, payload: NO_PAYLOAD })],
    ['F-08 an empty part', rawFrame(FrameType.Chunk, 0x10, 1, Buffer.alloc(0))],
    ['F-10 the handshake of another protocol', Buffer.from('GET / HTTP/1.1\r\n\r\n')],
    ['F-14 compression that nobody agreed on', withByte(5, 0x29)],
    ['B-04 more credit than anybody may hold', bytesOf(credit(MAX_CREDIT), credit(MAX_CREDIT))],
    ['B-06 a flood of grants', Buffer.concat(Array.from({ length: 2000 }, () => bytesOf(credit(1))))],
  ])('Z-11 ends its own connection all the same: %s', async (_, sent) => {
    await using site = await Site.open();
    const peer = await site.login();
    peer.send(sent, message(7, 'guarded', encoded('behind it')));
    await peer.closed();
    expect(peer.frames.filter(({ type }) => type !== FrameType.Pong)).toEqual([]);
    expect(ran).toEqual([]);
    expect(site.app.log.lines.filter((line) => line.startsWith('error '))).toEqual([]);
  });

  it.each<[string, Buffer]>([
    ...['dd01312d00', 'ddffffffff', 'dfffffffff', 'dbffffffff', 'c6ffffffff', 'c9ffffffff01'].map(
      (hex): [string, Buffer] => [`C-01 ${hex}`, bytes(hex)],
    ),
    ['C-02 24,000 lists of 65,535 each', Buffer.from('dcffff'.repeat(20_000), 'hex')],
    ['C-03 60,000 levels', Buffer.alloc(60_000, 0x91)],
    ['C-04 a million empty maps', Buffer.concat([bytes('dd 000f4240'), Buffer.alloc(1_000_000, 0x80)])],
    ['C-05 the key __proto__', reaching('__proto__')],
    ['C-07 a key twice', bytes('82 a161 01 a161 02')],
    ['C-08 a list as a key', bytes('81 91 01 02')],
    ['C-09 text that is no UTF-8', bytes('a2 c328')],
    ['C-10 a byte of no meaning', bytes('c1')],
    ['C-11 an extension that nobody knows', bytes('d4 72 00')],
    ['C-12 bytes behind the value', bytes('01 02')],
    ['C-12 no byte at all', bytes('')],
  ])('Z-11 fails its own message all the same: %s', async (_, payload) => {
    await using site = await Site.open();
    const peer = await site.login();
    peer.send(message(1, 'guarded', payload));
    expect(await answerTo(peer, 1)).toMatchObject({ type: FrameType.Error, code: 'protocol_error' });
    expect(ran).toEqual([]);
    peer.send(message(2, 'guarded', encoded('good')));
    expect(await answerTo(peer, 2)).toMatchObject({ type: FrameType.Result });
    expect(ran).toHaveLength(2);
    peer.destroy();
  });

  it.each<[string, unknown]>([
    ['a map', { 0: 'x', length: 1 }],
    ['text', 'ab'],
    ['10,000 of them', Array.from({ length: 10_000 }, () => 1)],
  ])('Z-11 fails its own message all the same: C-16 for a list of arguments %s', async (_, args) => {
    await using site = await Site.open();
    const peer = await site.login();
    peer.send(message(1, 'guarded', encoded(args), { single: false }));
    expect(await answerTo(peer, 1)).toMatchObject({ type: FrameType.Error, code: 'protocol_error' });
    expect(ran).toEqual([]);
    peer.destroy();
  });

  it('Z-11 ends its own connection all the same: B-05 more events than it has credit for', async () => {
    await using site = await Site.open({ gracePeriod: 50 });
    const peer = await site.login();
    const { id: _, timeoutMs: __, ...call } = callOf(1, 'waits');
    const payload = { kind: 'codec', bytes: encoded(Buffer.alloc(4096)) } as const;
    const cast: Frame = { ...call, type: FrameType.Cast, payload };
    peer.send(bytesOf(...Array.from({ length: 100 }, () => cast)));
    await peer.closed();
    expect(site.app.node.stats().counts.fc_violation).toBe(1);
    site.app.app.get(Handlers).release.resolve();
  });

  it('Z-11 is passed over where the protocol says so: F-05', async () => {
    await using site = await Site.open();
    const peer = await site.login();
    peer.send(rawFrame(0x80, 0xff, 77, Buffer.alloc(500, 9)), message(1, 'guarded', encoded('behind it')));
    expect(await answerTo(peer, 1)).toMatchObject({ type: FrameType.Result });
    peer.destroy();
  });
});
