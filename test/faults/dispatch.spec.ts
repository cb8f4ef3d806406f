import { Controller, Injectable, type OnModuleDestroy } from '@nestjs/common';
import { MessagePattern } from '@nestjs/microservices';
import { firstValueFrom, lastValueFrom } from 'rxjs';
import { describe, expect, it } from 'vitest';
import { RpcFunction, RpcModule } from '../../lib/nest/gen-rpc.decorators.js';
import type { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import { FrameType } from '../../lib/protocol/frame.js';
import type { ModuleControl } from '../../lib/server/module-policy.js';
import { App, pairOf, SERVER } from '../nest/support.js';
import { Cluster, DRIVERS, type DriverName, type NodeSettings } from '../support/cluster.js';
import { bytesOf, RawPeer } from '../support/raw-peer.js';

const B = 'b@127.0.0.1';

/** What every object answers to, and what no registry may. */
const INHERITED = [
  ...[
    'constructor',
    '__proto__',
    'prototype',
    'toString',
    'toLocaleString',
    'valueOf',
    'hasOwnProperty',
    'isPrototypeOf',
  ],
  ...[
    '__defineGetter__',
    '__lookupSetter__',
    'then',
    'catch',
    'call',
    'apply',
    'bind',
    'length',
    'name',
    'get',
    'size',
  ],
];
const ODD = [
  '',
  ' ',
  '.',
  '..',
  'add.',
  '.add',
  'math.add',
  'add\0',
  '\0',
  'add\n',
  'ADD',
  'a̲dd',
  '../add',
  '*',
  '%s',
  '🤷',
];
const HOSTILE = [...INHERITED, ...ODD];

/** Two nodes, and a canary that sings in every function of `b`. */
interface Aviary {
  readonly cluster: Cluster;
  readonly a: GenRpcNode;
  readonly b: GenRpcNode;
  readonly sung: string[];
}

async function aviary(driver: DriverName, modules: readonly string[], options: NodeSettings = {}): Promise<Aviary> {
  const cluster = new Cluster({ driver });
  const b = await cluster.start('b', options);
  const sung: string[] = [];
  for (const module of modules) {
    const sing = (fn: string) => (): string => {
      sung.push(`${module}|${fn}`);
      return 'sung';
    };
    b.register(module, { add: sing('add'), c: sing('c') });
  }
  return { cluster, a: cluster.create('a', { listen: false }), b, sung };
}

/** Every way to a function, ours and local. */
const WAYS: readonly { readonly way: string; readonly local: boolean; readonly cast: boolean }[] = [
  { way: 'call', local: false, cast: false },
  { way: 'cast', local: false, cast: true },
  { way: 'call of the own node', local: true, cast: false },
  { way: 'cast to the own node', local: true, cast: true },
];

/** The code of the refusal, or `undefined` when the function ran. */
async function ask(birds: Aviary, way: (typeof WAYS)[number], module: string, fn: string): Promise<string | undefined> {
  const node = way.local ? birds.b : birds.a;
  if (!way.cast)
    return node.call(B, module, fn).then(
      () => undefined,
      (error: { code: string }) => error.code,
    );
  const before = { sung: birds.sung.length, refused: birds.b.stats().counts.call_refused ?? 0 };
  expect(node.cast(B, module, fn)).toBe(true);
  // Frames of one connection are handled in order: the answer to this one comes after the cast.
  await node.call(B, 'fence', 'nobody').catch(() => {});
  const refused = (birds.b.stats().counts.call_refused ?? 0) - before.refused - 1;
  expect(refused + birds.sung.length - before.sung).toBe(1);
  return refused === 1 ? 'refused' : undefined;
}

describe.each(DRIVERS)('Z-01 hostile names over %s', (driver) => {
  it.each(WAYS)('Z-01 $way finds no function that was not registered, and the canary is silent', async (way) => {
    const birds = await aviary(driver, ['math']);
    await using _ = birds.cluster;
    const expected = way.cast ? 'refused' : 'undefined_function';
    for (const name of HOSTILE) {
      await expect(ask(birds, way, 'math', name), `math, ${JSON.stringify(name)}`).resolves.toBe(expected);
      await expect(ask(birds, way, name, 'add'), `${JSON.stringify(name)}, add`).resolves.toBe(expected);
      await expect(ask(birds, way, name, name), `${JSON.stringify(name)} twice`).resolves.toBe(expected);
    }
    expect(birds.sung).toEqual([]);
    await expect(ask(birds, way, 'math', 'add')).resolves.toBeUndefined();
    expect(birds.sung).toEqual(['math|add']);
  });
});

describe('Z-01 names that are too long to be sent', () => {
  it('Z-01 are refused by the caller that writes them', async () => {
    const birds = await aviary('tcp', ['math']);
    await using _ = birds.cluster;
    const long = 'a'.repeat(10 * 1024);
    await expect(birds.a.call(B, 'math', long)).rejects.toMatchObject({ code: 'invalid_argument' });
    await expect(birds.a.call(B, long, 'add')).rejects.toMatchObject({ code: 'invalid_argument' });
    expect(() => birds.a.cast(B, 'math', long)).toThrow(expect.objectContaining({ code: 'invalid_argument' }));
    await expect(birds.b.call(B, 'math', long)).rejects.toMatchObject({ code: 'invalid_argument' });
    expect(birds.sung).toEqual([]);
  });

  it('Z-01 are no function of the node that gets them all the same, and its answer stays short', async () => {
    const birds = await aviary('tcp', ['math']);
    await using _ = birds.cluster;
    const peer = await RawPeer.dial('tcp', birds.cluster.discovery.locations.get(B)?.port ?? 0);
    await peer.login('raw@127.0.0.1', B);
    const name = { module: 'math', fn: 'a'.repeat(10 * 1024), version: '' };
    const payload = { kind: 'none', bytes: new Uint8Array(0) } as const;
    peer.send(
      bytesOf({ type: FrameType.Call, id: 1, name, timeoutMs: 1000, single: false, headers: undefined, payload }),
    );
    await peer.until(() => peer.frames.length === 1);
    const [answer] = peer.frames;
    expect(answer).toMatchObject({ type: FrameType.Error, id: 1, code: 'undefined_function' });
    expect(Buffer.concat(peer.received).length).toBeLessThan(2048);
    expect(birds.sung).toEqual([]);
    peer.destroy();
  });
});

const singing: string[] = [];

class Base {
  inherited(): string {
    singing.push('inherited');
    return 'sung';
  }
}

@Injectable()
class Repository {
  find(): string {
    singing.push('find');
    return 'sung';
  }
}

@RpcModule('birds')
class Birds extends Base implements OnModuleDestroy {
  destroyed = 0;
  public field = (): string => 'sung';

  constructor(readonly repository: Repository) {
    super();
  }

  @RpcFunction()
  decorated(): string {
    return this.#hidden();
  }

  undecorated(): string {
    singing.push('undecorated');
    return 'sung';
  }

  get getter(): () => string {
    singing.push('getter');
    return () => 'sung';
  }

  static fixed(): string {
    singing.push('fixed');
    return 'sung';
  }

  onModuleDestroy(): void {
    this.destroyed += 1;
  }

  #hidden(): string {
    return 'decorated sang';
  }
}

@Controller()
class PlainController extends Base {
  @MessagePattern('plain.decorated')
  decorated(): string {
    return 'decorated sang';
  }

  undecorated(): string {
    singing.push('undecorated');
    return 'sung';
  }
}

const UNREACHABLE = [
  ...[
    'undecorated',
    '#hidden',
    'hidden',
    'inherited',
    'getter',
    'field',
    'fixed',
    'repository',
    'repository.find',
    'find',
  ],
  ...['destroyed', 'onModuleDestroy', 'onModuleInit', 'onApplicationShutdown', 'constructor', '__proto__', 'toString'],
];
const NEST = { controllers: [Birds, PlainController], providers: [Repository] };

async function singsThrough(app: App, module: string, fn: string): Promise<void> {
  const client = app.client();
  const node = client.unwrap();
  const route = `${module}.${fn}`;
  await expect(node.call(SERVER, module, fn), route).rejects.toMatchObject({ code: 'undefined_function' });
  await expect(firstValueFrom(client.send(route, {})), route).rejects.toContain('There is no matching message handler');
  const refused = app.node.stats().counts.call_refused ?? 0;
  expect(node.cast(SERVER, module, fn)).toBe(true);
  await lastValueFrom(client.emit(route, {}));
  await firstValueFrom(client.send('plain.decorated', {}));
  expect(app.node.stats().counts.call_refused).toBe(refused + 2);
}

describe('Z-02 what a Nest application has beside its decorated functions', () => {
  it.each(['birds', 'plain', 'Birds', 'PlainController', ''])('Z-02 is no function of module "%s"', async (module) => {
    singing.length = 0;
    await using app = await App.start(NEST);
    for (const fn of UNREACHABLE) await singsThrough(app, module, fn);
    expect(singing).toEqual([]);
    expect(app.app.get(Birds).destroyed).toBe(0);
    const node = app.client().unwrap();
    await expect(node.call(SERVER, 'birds', 'decorated')).resolves.toBe('decorated sang');
    await expect(node.call(SERVER, 'plain', 'decorated')).resolves.toBe('decorated sang');
  });

  it('Z-02 is no function for calls of the own node either', async () => {
    singing.length = 0;
    await using app = await App.start(NEST);
    for (const fn of UNREACHABLE) {
      await expect(app.node.call(SERVER, 'birds', fn)).rejects.toMatchObject({ code: 'undefined_function' });
    }
    expect(singing).toEqual([]);
    await expect(app.node.call(SERVER, 'birds', 'decorated')).resolves.toBe('decorated sang');
  });
});

/** Modules that look alike; only those that are listed byte by byte count as listed. */
const LISTED = ['math', 'caf\u00e9', 'a.b'];
const UNLISTED = {
  'another name': 'physics',
  'another case': 'Math',
  'a Cyrillic look-alike': 'm\u0430th',
  'a full-width look-alike': '\uff4dath',
  'the decomposed form': 'cafe\u0301',
  'a space behind': 'math ',
  'a space in front': ' math',
  'a zero-width space': 'ma\u200bth',
  'a prefix': 'mat',
  'more behind': 'mathx',
  'a NUL behind': 'math\0',
  'the first half of a dotted name': 'a',
  'a dotted name with one part more': 'a.b.c',
  'no name': '',
};
const MODULES = [...LISTED, ...Object.values(UNLISTED), '__proto__'];

async function verdicts(birds: Aviary, way: (typeof WAYS)[number], modules: readonly string[]): Promise<unknown> {
  const entries = new Map<string, boolean>();
  for (const module of modules) entries.set(module, (await ask(birds, way, module, 'add')) === undefined);
  return entries;
}

describe.each(DRIVERS)('Z-03 the policy compares names byte by byte, over %s', (driver) => {
  it.each(WAYS)('Z-03 a whitelist lets the listed through, and nothing like them: $way', async (way) => {
    const birds = await aviary(driver, MODULES, { moduleControl: 'whitelist', moduleList: LISTED });
    await using _ = birds.cluster;
    const expected = new Map(MODULES.map((module) => [module, LISTED.includes(module)]));
    await expect(verdicts(birds, way, MODULES)).resolves.toEqual(expected);
    expect(birds.sung).toEqual(LISTED.map((module) => `${module}|add`));
  });

  it.each(WAYS)('Z-03 a blacklist stops the listed, and nothing like them: $way', async (way) => {
    const birds = await aviary(driver, MODULES, { moduleControl: 'blacklist', moduleList: LISTED });
    await using _ = birds.cluster;
    const expected = new Map(MODULES.map((module) => [module, !LISTED.includes(module)]));
    await expect(verdicts(birds, way, MODULES)).resolves.toEqual(expected);
    expect(birds.sung).toHaveLength(new Set(MODULES).size - LISTED.length);
  });
});

describe('Z-03 where module ends and function begins', () => {
  it.each<[ModuleControl, string[]]>([
    ['whitelist', ['a']],
    ['whitelist', ['a.b']],
    ['blacklist', ['a']],
    ['blacklist', ['a.b']],
    ['disabled', []],
  ])('Z-03 `a.b`,`c` and `a`,`b.c` are two names to a %s of %j', async (moduleControl, moduleList) => {
    const birds = await aviary('tcp', ['a.b'], { moduleControl, moduleList });
    await using _ = birds.cluster;
    const allowed = moduleControl === 'disabled' || moduleList.includes('a.b') === (moduleControl === 'whitelist');
    const whole = birds.a.call(B, 'a.b', 'c');
    if (allowed) await expect(whole).resolves.toBe('sung');
    else await expect(whole).rejects.toMatchObject({ code: 'unauthorized' });
    const code = expect.stringMatching(/^(unauthorized|undefined_function)$/);
    await expect(birds.a.call(B, 'a', 'b.c')).rejects.toMatchObject({ code });
    expect(birds.sung).toEqual(allowed ? ['a.b|c'] : []);
  });

  it('Z-03 a refusal is the same whether the module exists or not', async () => {
    const birds = await aviary('tcp', ['math'], { moduleControl: 'blacklist', moduleList: ['math', 'ghost'] });
    await using _ = birds.cluster;
    const refusal = async (module: string, fn: string): Promise<unknown> => {
      const error = (await birds.a.call(B, module, fn).catch((caught: unknown) => caught)) as Error & { code: string };
      return [error.code, error.message.replace(module, 'M').replace(fn, 'F')];
    };
    const known = await refusal('math', 'add');
    await expect(refusal('ghost', 'add')).resolves.toEqual(known);
    await expect(refusal('math', 'nobody')).resolves.toEqual(known);
  });
});

describe('Z-04 the same rules for every way in', () => {
  @RpcModule('open')
  class Open {
    @RpcFunction()
    sing(): string {
      singing.push('open');
      return 'sung';
    }
  }

  @RpcModule('closed')
  class Closed {
    @RpcFunction()
    sing(): string {
      singing.push('closed');
      return 'sung';
    }
  }

  const APP = { controllers: [Open, Closed], options: { moduleControl: 'whitelist', moduleList: ['open'] } as const };

  it('Z-04 Nest send and emit, and the verbs on the same application', async () => {
    singing.length = 0;
    await using pair = await pairOf(APP, { errors: 'gen_rpc' });
    const node = pair.caller.unwrap();
    const refused = { code: 'unauthorized', maybeExecuted: false };
    await expect(firstValueFrom(pair.caller.send('closed.sing', {}))).rejects.toMatchObject(refused);
    await expect(node.call(SERVER, 'closed', 'sing')).rejects.toMatchObject(refused);
    await expect(node.call(SERVER, { module: 'closed', version: '1' }, 'sing')).rejects.toMatchObject(refused);
    await lastValueFrom(pair.caller.emit('closed.sing', {}));
    expect(node.cast(SERVER, 'closed', 'sing')).toBe(true);
    expect(singing).toEqual([]);
    await expect(firstValueFrom(pair.caller.send('open.sing', {}))).resolves.toBe('sung');
    await expect(node.call(SERVER, 'open', 'sing')).resolves.toBe('sung');
    await lastValueFrom(pair.caller.emit('open.sing', {}));
    node.cast(SERVER, 'open', 'sing');
    await node.call(SERVER, 'open', 'sing');
    expect(singing).toEqual(['open', 'open', 'open', 'open', 'open']);
    expect(pair.node.stats().counts.call_refused).toBe(5);
  });

  it('Z-04 calls and casts of the own node', async () => {
    singing.length = 0;
    await using app = await App.start(APP);
    await expect(app.node.call(SERVER, 'closed', 'sing')).rejects.toMatchObject({ code: 'unauthorized' });
    app.node.cast(SERVER, 'closed', 'sing');
    expect(singing).toEqual([]);
    await expect(app.node.call(SERVER, 'open', 'sing')).resolves.toBe('sung');
    app.node.cast(SERVER, 'open', 'sing');
    await app.node.call(SERVER, 'open', 'sing');
    expect(singing).toEqual(['open', 'open', 'open']);
  });

  it.each(DRIVERS)('Z-04 arguments stay bytes until the name has been allowed, over %s', async (driver) => {
    const birds = await aviary(driver, ['math', 'closed'], { moduleControl: 'blacklist', moduleList: ['closed'] });
    await using _ = birds.cluster;
    let decoded = 0;
    const codec = {
      id: 'counting',
      encode: (value: unknown): Uint8Array => Buffer.from(JSON.stringify(value)),
      decode: (bytes: Uint8Array): unknown => {
        decoded += 1;
        return JSON.parse(Buffer.from(bytes).toString()) as unknown;
      },
    };
    const b = await birds.cluster.start('counting', { codec, moduleControl: 'blacklist', moduleList: ['closed'] });
    b.register('closed', { fn: () => 'ran' });
    b.register('open', { fn: () => null });
    const a = birds.cluster.create('caller', { codec, listen: false });
    await expect(a.call(b.name, 'closed', 'fn', [1])).rejects.toMatchObject({ code: 'unauthorized' });
    await expect(a.call(b.name, 'open', 'nobody', [1])).rejects.toMatchObject({ code: 'undefined_function' });
    a.cast(b.name, 'closed', 'fn', [1]);
    const version = { module: 'open', version: '9' };
    await expect(a.call(b.name, version, 'fn', [1])).rejects.toMatchObject({ code: 'incompatible' });
    expect(decoded).toBe(0);
    await expect(a.call(b.name, 'open', 'fn', [1])).resolves.toBeNull();
    expect(decoded).toBe(2);
  });
});
