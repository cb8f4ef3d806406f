import { describe, expect, it } from 'vitest';
import { GenRpcConfigError, type Problem } from '../../lib/options/config-error.js';
import { createNode } from '../../lib/node/create-node.js';
import { nearestName } from '../../lib/protocol/nearest-name.js';
import type { GenRpcOptions } from '../../lib/node/options.js';
import { resolveOptions } from '../../lib/node/resolve-options.js';
import { MemoryNetwork } from '../../lib/driver/memory.driver.js';
import { systemClock } from '../../lib/system/system.js';
import { SECRET } from '../support/cluster.js';

const GOOD = { name: 'a@127.0.0.1', secret: SECRET };

function refusalOf(options: unknown): GenRpcConfigError {
  try {
    createNode(options as GenRpcOptions, {}, 'a test');
  } catch (error) {
    if (error instanceof GenRpcConfigError) return error;
    throw error;
  }
  return expect.fail(`no problem in ${JSON.stringify(options)}`);
}

function problemsOf(options: object): readonly Problem[] {
  return refusalOf({ ...GOOD, ...options }).problems;
}

const ALL_OPTIONS = 'nestjs-gen-rpc/docs/SETTINGS.md has all that there are';
const MS = 'whole ms from 1 to 2147483647';
const NOT_MS = [0, -1, 1.5, Number.NaN, Infinity, 2 ** 31, '100', null, true, 10n];
const bytes = (least: number): string => `a whole number from ${least} to ${1024 ** 3}`;

/** Each option: what is allowed, and values that are not. */
const RULES: Readonly<Record<string, readonly [expected: string | RegExp, ...wrong: unknown[]]>> = {
  name: [/^name@host: /, 'a', '@', 'a@', '@b', 'a b@c', 'a@b/c', 'a@b\n', 'ä@b', `${'a'.repeat(300)}@b`, 7, null],
  clientPort: ['a whole number from 1 to 65535', 0, -1, 65_536, 1.5, '5369', Number.NaN, null],
  driver: [/driver/, 7, null, 'tls', ''],
  codec: [
    "'msgpackr', 'msgpack5' or an object { id, encode, decode }",
    'json',
    7,
    null,
    {},
    { id: 'X', encode() {}, decode() {} },
  ],
  callTimeout: [MS, ...NOT_MS],
  connectTimeout: [MS, ...NOT_MS],
  handshakeTimeout: [MS, ...NOT_MS],
  sendTimeout: [MS, ...NOT_MS],
  frameReadTimeout: [MS, ...NOT_MS],
  gracePeriod: [MS, ...NOT_MS],
  gracefulShutdown: ['true or false', 'false', 0, null],
  maxMessageBytes: [bytes(1024), 0, 1023, 1024 ** 3 + 1, 2048.5, '4096', null],
  maxQueuedBytes: [bytes(1024), 0, 1023, 1024 ** 3 + 1, 2048.5, '4096', null],
  maxBufferedBytes: [`a whole number from 1024 to ${1024 ** 4}`, 0, 1023, 1024 ** 4 + 1, 2048.5, '4096', null],
  maxWindow: [bytes(64 * 1024), 0, 64 * 1024 - 1, 1024 ** 3 + 1, 65_536.5, '65536', null],
  maxQueuedCasts: ['a whole number from 0 to 10000000', -1, 0.5, 10_000_001, '1', null],
  maxLanesPerNode: ['a whole number from 1 to 1024', 0, 1025, 1.5, '16', null],
  moduleControl: ['disabled, whitelist or blacklist', 'Whitelist', 'none', true, null],
  moduleList: ['a list of module names', 'math', [7], [null], { 0: 'math' }, null],
  duplicateNodes: ['newest or refuse', 'oldest', true, null],
  exposeErrors: ['true or false', 'true', 1, null],
  tracing: ['an object with functions outgoing(call) and incoming(call)', true, {}, { outgoing() {} }, null],
  inheritDeadlines: ['true or false', 'true', 1, null],
  listen: ['an object, a list of them, or false', true, 5369, 'localhost', null],
  'listen.driver': [/driver/, 7, null, 'tls', ''],
  'listen.host': [/host/, '', 'a b', 'http://a', 7, null, 'a/24'],
  'listen.port': ['a whole number from 0 to 65535', -1, 65_536, 1.5, '80', null],
  'listen.allowPlaintext': ['true or false', 'yes', 1, null],
  nodes: ['an object from node name to location, or a function', true, 'b@c', null, []],
  reconnect: ['an object', true, 100, null, []],
  'reconnect.min': [MS, ...NOT_MS],
  'reconnect.max': [MS, ...NOT_MS],
  retry: ['an object', true, 3, null, []],
  'retry.idempotent': ['a list of routes', 'stock.*', [7], [''], null, {}],
  'retry.attempts': ['a whole number from 1 to 10', 0, 1.5, 11, '3', null],
  'retry.ratio': ['a number from 0 to 1', -0.1, 1.1, Number.NaN, '0.2', null],
  'retry.perSecond': ['a whole number from 0 to 1000000', -1, 1.5, 1_000_001, '10', null],
  admission: ['an object', true, 100, null, []],
  'admission.total': ['a whole number from 1 to 1000000', 0, 1.5, 1_000_001, '1', null],
  'admission.perAddress': ['a whole number from 1 to 1000000', 0, 1.5, 1_000_001, '1', null],
  'admission.failuresPerMinute': ['a whole number from 1 to 1000000', 0, 1.5, 1_000_001, '1', null],
  concurrency: ['an object', true, false, 100, null, []],
  'concurrency.callsPerConnection': ['a whole number from 1 to 10000000', 0, 1.5, 10_000_001, Infinity, '1', null],
  'concurrency.calls': ['a whole number from 1 to 10000000', 0, 1.5, 10_000_001, Infinity, '1', null],
  'concurrency.casts': ['a whole number from 1 to 10000000', 0, 1.5, 10_000_001, Infinity, '1', null],
  'concurrency.loopDelay': [`${MS}, or Infinity`, ...NOT_MS.filter((value) => value !== Infinity)],
  'listen.ipv6Only': ['true or false', 'yes', 1, null],
  sbcastTimeout: [MS, ...NOT_MS],
  clientInactivityTimeout: [`${MS}, or Infinity`, ...NOT_MS.filter((value) => value !== Infinity)],
  serverInactivityTimeout: [`${MS}, or Infinity`, ...NOT_MS.filter((value) => value !== Infinity)],
  asyncCallInactivityTimeout: [`${MS}, or Infinity`, ...NOT_MS.filter((value) => value !== Infinity)],
  keepalive: ['an object', true, 100, null, []],
  'keepalive.idle': [MS, ...NOT_MS],
  'keepalive.interval': [MS, ...NOT_MS],
  'keepalive.count': ['a whole number from 1 to 1000', 0, 1.5, 1001, '1', null],
  batching: ['an object', true, false, 100, null, []],
  'batching.frames': ['a whole number from 1 to 100000', 0, 1.5, 100_001, '1', null],
  'batching.bytes': ['a whole number from 1 to 1073741824', 0, 1.5, 2 ** 31, '1', null],
  compression: ['an object', true, 100, null, []],
  'compression.level': ['a whole number from 1 to 9', 0, 1.5, 10, '1', null],
  'compression.threshold': ['a whole number from 0 to 1073741824', -1, 1.5, 2 ** 31, '1', null],
  maxLanes: ['a whole number from 1 to 1000000', 0, 1.5, 1_000_001, '1', null],
  castLanes: ['shared or separate', 'both', true, null],
  life: ['1 to 255 characters', '', 'x'.repeat(256), 1, null],
};

/** `{ [path]: value }` with its dots as objects. */
function optionAt(path: string, value: unknown): object {
  const [head = '', ...rest] = path.split('.');
  return { [head]: rest.length === 0 ? value : optionAt(rest.join('.'), value) };
}

describe('options that are wrong', () => {
  it.each(Object.keys(RULES))('are named, with what is allowed and what was given: %s', (path) => {
    const [expected, ...wrong] = RULES[path] ?? expect.fail();
    for (const got of wrong) {
      const problems = problemsOf(optionAt(path, got));
      const problem = problems.find((one) => one.path === path);
      expect(problem, `${path}: ${String(got)}`).toEqual({
        path,
        expected: typeof expected === 'string' ? expected : expect.stringMatching(expected),
        got,
      });
    }
  });

  it('are named for every node that is elsewhere', () => {
    const nodes = {
      'b@host': { host: 'a b', port: 0, driver: 'tls' },
      'c@host': { hots: 'x' },
      'no node': { port: 1 },
      'd@host': 7,
    };
    expect(problemsOf({ nodes })).toEqual([
      { path: 'nodes["b@host"].host', expected: 'a host name or address', got: 'a b' },
      { path: 'nodes["b@host"].port', expected: 'a whole number from 1 to 65535', got: 0 },
      {
        path: 'nodes["b@host"].driver',
        expected: expect.stringMatching(/^a driver that there is: tcp; .*tls/),
        got: 'tls',
      },
      { path: 'nodes["c@host"].hots', expected: 'no option of this name; did you mean host?' },
      { path: 'nodes["no node"]', expected: expect.stringMatching(/^name@host: /), got: 'no node' },
      { path: 'nodes["d@host"]', expected: 'an object', got: 7 },
    ]);
  });

  it('are all in one error, a line each, under the call that got them', () => {
    const error = refusalOf({
      name: 'nobody',
      secret: 'short',
      callTimeout: 'soon',
      listen: { port: 70_000 },
      reconnect: { min: -1 },
      tiemout: 5,
    });
    const [head, ...lines] = error.message.split('\n');
    expect(head).toBe('6 problems in a test');
    expect(lines.toSorted()).toEqual([
      `  - callTimeout: expected ${MS}, got 'soon'`,
      '  - listen.port: expected a whole number from 0 to 65535, got 70000',
      expect.stringMatching(/^ {2}- name: expected name@host: .*, got 'nobody'$/),
      `  - reconnect.min: expected ${MS}, got -1`,
      '  - secret: expected 1 to 4 strong secrets; one must have at least 16 bytes, has 5',
      `  - tiemout: expected no option of this name; ${ALL_OPTIONS}`,
    ]);
    expect(error.problems).toHaveLength(6);
    expect(error.name).toBe('GenRpcConfigError');
  });

  it.each([undefined, null, 'a@b', 7, [], () => {}])('are missing altogether: %j', (options) => {
    const error = refusalOf(options);
    expect(error.problems).toHaveLength(1);
    expect(error.problems[0]).toMatchObject({ path: 'options', expected: 'an object with at least name and secret' });
  });

  it('lack what has no default: name and secret', () => {
    expect(refusalOf({}).problems.map(({ path }) => path)).toEqual(['name', 'secret']);
  });

  it('contradict each other: reconnect.max below reconnect.min', () => {
    const expected = 'at least reconnect.min, which is 500';
    expect(problemsOf({ reconnect: { min: 500, max: 400 } })).toEqual([{ path: 'reconnect.max', expected, got: 400 }]);
    expect(problemsOf({ reconnect: { min: 40_000 } })).toMatchObject([{ path: 'reconnect.max', got: 30_000 }]);
  });

  it('show only the beginning of what is long', () => {
    const { message } = refusalOf({ ...GOOD, driver: 'x'.repeat(10_000) });
    expect(message.length).toBeLessThan(400);
  });
});

describe('options that nobody knows', () => {
  it.each([
    ['callTimout', 'callTimeout'],
    ['call_timeout', 'callTimeout'],
    ['CALLTIMEOUT', 'callTimeout'],
    ['secrets', 'secret'],
    ['listener', 'listen'],
    ['modulelist', 'moduleList'],
    ['node', 'nodes'],
    ['max_message_bytes', 'maxMessageBytes'],
    ['cookie', 'secret'],
    ['tcp_server_port', 'listen.port'],
    ['ssl_server_port', 'listen.port'],
    ['ssl_client_options', 'tls.client'],
    ['rpc_module_list', 'moduleList'],
    ['call_receive_timeout', 'callTimeout'],
    ['tlsOptions', 'tls'],
    ['timeout', 'callTimeout'],
    ['host', 'listen.host, or, of a client, the host in its target'],
    ['port', 'listen.port, or, of a client, clientPort'],
    ['incompleteMessageTimeout', 'frameReadTimeout'],
  ])('are named, with the one that was probably meant: %s', (given, meant) => {
    const expected = `no option of this name; did you mean ${meant}?`;
    expect(problemsOf({ [given]: 1 })).toEqual([{ path: given, expected }]);
  });

  it.each(['banana', 'x', 'tiemout'])('are named, without a guess where none is near: %s', (given) => {
    const expected = `no option of this name; ${ALL_OPTIONS}`;
    expect(problemsOf({ [given]: 1 })).toEqual([{ path: given, expected }]);
  });

  it.each([
    ['listen', { prot: 1 }, 'listen.prot', 'port'],
    ['reconnect', { maximum: 1 }, 'reconnect.maximum', undefined],
    ['admission', { peraddress: 1 }, 'admission.peraddress', 'perAddress'],
  ])('are named inside %s too', (option, value, path, meant) => {
    const hint = meant === undefined ? ALL_OPTIONS : `did you mean ${meant}?`;
    expect(problemsOf({ [option]: value })).toEqual([{ path, expected: `no option of this name; ${hint}` }]);
  });

  it('are compared by letters', () => {
    expect(nearestName('', ['a'])).toBeUndefined();
    expect(nearestName('abc', ['abd', 'abc', 'xyz'])).toBe('abc');
    expect(nearestName('x'.repeat(100_000), ['listen'])).toBeUndefined();
  });
});

describe('a secret', () => {
  it.each([
    ['too short', 'fifteen-bytes!!', 'one must have at least 16 bytes, has 15'],
    ['of one letter', 'a'.repeat(32), 'one must not repeat a few characters'],
    ['of a few letters', 'abcab'.repeat(8), 'one must not repeat a few characters'],
    ['out of a sample', 'change-me-please-12345', 'one looks like a sample; make one with: openssl rand -base64 32'],
    [
      'that says password',
      'my-long-Password-0123456',
      'one looks like a sample; make one with: openssl rand -base64 32',
    ],
    ['that is none', 1_234_567_890_123_456, 'one must be a string'],
    ['that is null', null, 'one must be a string'],
    ['in a list with a good one', [SECRET, 'short'], 'one must have at least 16 bytes, has 5'],
    ['among too many', Array.from({ length: 5 }, (_, n) => `${SECRET}${n}`), 'one is too many'],
  ])('%s is refused, and never repeated', (_, secret, because) => {
    const error = refusalOf({ ...GOOD, secret });
    expect(error.problems).toEqual([{ path: 'secret', expected: `1 to 4 strong secrets; ${because}` }]);
    for (const one of [secret].flat()) expect(error.message).not.toContain(String(one === 'short' ? "'short'" : one));
  });

  it.each([undefined, []])('that is missing is asked for: %j', (secret) => {
    const expected = 'one that all your nodes share (openssl rand -base64 32 makes one)';
    expect(refusalOf({ ...GOOD, secret }).problems).toEqual([{ path: 'secret', expected, got: secret }]);
  });

  it('may be one, or up to four', () => {
    expect(resolveOptions(GOOD, 'a test').secrets).toEqual([SECRET]);
    const four = Array.from({ length: 4 }, (_, n) => `${SECRET}${n}`);
    expect(resolveOptions({ ...GOOD, secret: four }, 'a test').secrets).toEqual(four);
  });
});

describe('listening beyond this machine without encryption', () => {
  it.each([
    '0.0.0.0',
    '::',
    '10.0.0.1',
    '192.168.1.5',
    'example.com',
    '127.0.0.1.example.com',
    '127.evil',
    '::2',
    'localhost.example',
  ])('is refused unless it is asked for: %s', (host) => {
    const [problem, ...more] = problemsOf({ listen: { host } });
    expect(more).toEqual([]);
    expect(problem).toMatchObject({
      path: 'listen.host',
      got: host,
      expected: expect.stringContaining('allowPlaintext: true'),
    });
    expect(problemsOf({ listen: { host, allowPlaintext: false } })).toHaveLength(1);
    expect(() => createNode({ ...GOOD, listen: { host, allowPlaintext: true } })).not.toThrow();
  });

  it.each(['127.0.0.1', '127.1.2.3', '::1', 'localhost', 'LOCALHOST', undefined])('is not what this is: %s', (host) => {
    const listen = host === undefined ? {} : { host };
    expect(() => createNode({ ...GOOD, listen })).not.toThrow();
  });
});

describe('options that are right', () => {
  it('have defaults', () => {
    expect(resolveOptions(GOOD, 'a test')).toEqual({
      name: 'a@127.0.0.1',
      secrets: [SECRET],
      secret: undefined,
      listen: [{ driver: 'tcp', host: '127.0.0.1', port: 5369, ipv6Only: false, allowPlaintext: false }],
      clientPort: 5369,
      driverPorts: new Map([
        ['tcp', 5369],
        ['tls', 5370],
      ]),
      tls: undefined,
      nodes: new Map(),
      discovery: undefined,
      tracing: undefined,
      membership: { required: false },
      advertise: { priority: 0, weight: 1 },
      ejection: { failures: 5, min: 1000, max: 30_000 },
      driver: 'tcp',
      codec: 'msgpackr',
      callTimeout: 15_000,
      sbcastTimeout: 15_000,
      inheritDeadlines: true,
      clientInactivityTimeout: Infinity,
      serverInactivityTimeout: Infinity,
      asyncCallInactivityTimeout: Infinity,
      connectTimeout: 5_000,
      handshakeTimeout: 5_000,
      sendTimeout: 5_000,
      frameReadTimeout: 30_000,
      gracePeriod: 10_000,
      gracefulShutdown: true,
      reconnect: { min: 100, max: 30_000 },
      retry: { idempotent: [], attempts: 3, ratio: 0.2, perSecond: 10 },
      admission: { total: 512, perAddress: 32, failuresPerMinute: 10 },
      keepalive: { idle: 5000, interval: 5000, count: 2 },
      batching: { frames: 16, bytes: 1024, growth: 16 },
      compression: undefined,
      concurrency: { callsPerConnection: 10_000, calls: 20_000, casts: 10_000, loopDelay: 200 },
      life: undefined,
      maxLanes: 4096,
      castLanes: 'shared',
      maxMessageBytes: 4 * 1024 * 1024,
      maxQueuedBytes: 64 * 1024 * 1024,
      maxBufferedBytes: 256 * 1024 * 1024,
      maxWindow: 16 * 1024 * 1024,
      maxQueuedCasts: 10_000,
      maxLanesPerNode: 16,
      moduleControl: 'disabled',
      moduleList: [],
      duplicateNodes: 'newest',
      exposeErrors: false,
    });
  });

  it('that are undefined have their defaults too', () => {
    const undefineds = Object.fromEntries(
      Object.keys(RULES)
        .filter((path) => !path.includes('.') && path !== 'name')
        .map((path) => [path, undefined]),
    );
    const inside = {
      listen: { host: undefined, port: undefined },
      reconnect: { min: undefined },
      admission: { total: undefined },
    };
    const defaults = resolveOptions(GOOD, 'a test');
    expect(resolveOptions({ ...GOOD, ...undefineds } as GenRpcOptions, 'a test')).toEqual(defaults);
    expect(resolveOptions({ ...GOOD, ...inside } as unknown as GenRpcOptions, 'a test')).toEqual(defaults);
  });

  it('let as many bytes wait as two messages have', () => {
    const maxMessageBytes = 50 * 1024 * 1024;
    expect(resolveOptions({ ...GOOD, maxMessageBytes }, 'a test').maxQueuedBytes).toBe(2 * maxMessageBytes);
    const maxQueuedBytes = 1024 * 1024;
    expect(resolveOptions({ ...GOOD, maxMessageBytes, maxQueuedBytes }, 'a test').maxQueuedBytes).toBe(maxQueuedBytes);
  });

  it('may name drivers that were brought along', () => {
    const drivers = [new MemoryNetwork(systemClock).driver('127.0.0.1')];
    const nodes = { 'b@host': { driver: 'memory' } };
    expect(() => createNode({ ...GOOD, driver: 'memory', nodes }, { drivers })).not.toThrow();
    expect(() => createNode({ ...GOOD, driver: 'memory', nodes })).toThrow(/a driver that there is: tcp/);
  });

  it('are not touched', () => {
    const options = Object.freeze({ ...GOOD, nodes: Object.freeze({ 'b@host': Object.freeze({ port: 1 }) }) });
    createNode(options);
    expect(options).toEqual({ ...GOOD, nodes: { 'b@host': { port: 1 } } });
  });

  it('of two nodes from one object share nothing', () => {
    const [one, two] = [createNode(GOOD), createNode(GOOD)];
    one.register('m', { fn: () => 1 });
    expect(one).not.toBe(two);
    return expect(two.call(GOOD.name, 'm', 'fn')).rejects.toMatchObject({ code: 'undefined_function' });
  });
});
