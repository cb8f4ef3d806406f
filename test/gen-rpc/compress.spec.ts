/** Payloads above a size are made smaller on the wire, where both ends have the option: seen in the bytes that pass. */
import { describe, expect, it } from 'vitest';
import { MsgpackrCodec } from '../../lib/protocol/msgpack/msgpackr.codec.js';
import { SeededRandom } from '../../lib/testing/seeded-random.js';
import { Cluster, type NodeSettings } from '../support/cluster.js';
import { portOf, redirect } from '../support/door.js';
import { Proxy } from '../support/proxy.js';
import { failure, SERVER, SOCKET_DRIVERS } from './support.js';

const THRESHOLD = 2000;
const COMPRESSED = { compression: { threshold: THRESHOLD } };
const UNCOMPRESSED: NodeSettings = { compression: false };
/** More than a header and a name take, less than any payload here that is not compressed. */
const LITTLE = 300;

/** Text that makes a payload of so many bytes, alone or as the only argument. */
function textOf(payloadBytes: number, wrap: (text: string) => unknown): string {
  const probe = 'x'.repeat(payloadBytes);
  const text = 'x'.repeat(2 * payloadBytes - new MsgpackrCodec().encode(wrap(probe)).length);
  expect(new MsgpackrCodec().encode(wrap(text))).toHaveLength(payloadBytes);
  return text;
}

const asArgument = (text: string): unknown => [text];
const asResult = (text: string): unknown => text;

/** A caller and a server with a proxy in between, connected. */
async function overProxy(driver: 'tcp', options: { caller: NodeSettings; server: NodeSettings }) {
  const cluster = new Cluster({ driver });
  const server = await cluster.start('server', options.server);
  const proxy = await Proxy.to({ port: portOf(cluster, SERVER) });
  redirect(cluster, SERVER, proxy.port);
  const caller = cluster.create('caller', { listen: false, ...options.caller });
  const taken: string[] = [];
  server.register('text', {
    take: ([text]: [string]) => void taken.push(text),
    give: ([bytes]: [number]) => textOf(bytes, asResult),
  });
  await caller.call(SERVER, 'text', 'take', ['']);
  taken.length = 0;
  return {
    caller,
    server,
    taken,
    /** Bytes that pass both ways while `work` is done. */
    async passed(work: () => Promise<unknown>): Promise<{ up: number; down: number }> {
      const before = { ...proxy.links[0]?.passed };
      await work();
      const { up = 0, down = 0 } = { ...proxy.links[0]?.passed };
      return { up: up - (before.up ?? 0), down: down - (before.down ?? 0) };
    },
    async [Symbol.asyncDispose](): Promise<void> {
      expect(proxy.links).toHaveLength(1);
      await cluster[Symbol.asyncDispose]();
      await proxy[Symbol.asyncDispose]();
    },
  };
}

type OverProxy = Awaited<ReturnType<typeof overProxy>>;

/** Bytes on the wire, for an argument and then for a result of so many payload bytes; both arrive as they were. */
async function sizes(pair: OverProxy, bytes: number): Promise<{ argument: number; result: number }> {
  const text = textOf(bytes, asArgument);
  const { up } = await pair.passed(() => pair.caller.call(SERVER, 'text', 'take', [text]));
  expect(pair.taken).toEqual([text]);
  pair.taken.length = 0;
  const { down } = await pair.passed(async () => {
    const given = await pair.caller.call<string>(SERVER, 'text', 'give', [bytes]);
    expect(given).toBe(textOf(bytes, asResult));
  });
  return { argument: up, result: down };
}

function expectWhole({ argument, result }: { argument: number; result: number }, bytes: number): void {
  for (const passed of [argument, result]) {
    expect(passed).toBeGreaterThan(bytes);
    expect(passed).toBeLessThan(bytes + LITTLE);
  }
}

function expectSmall({ argument, result }: { argument: number; result: number }): void {
  expect(argument).toBeLessThan(LITTLE);
  expect(result).toBeLessThan(LITTLE);
}

describe.each(SOCKET_DRIVERS as readonly 'tcp'[])('remote over %s', (driver) => {
  it('call_compress_above_threshold', async () => {
    await using pair = await overProxy(driver, { caller: COMPRESSED, server: COMPRESSED });
    expectSmall(await sizes(pair, THRESHOLD + 1));
    expectSmall(await sizes(pair, 20 * THRESHOLD));
  });

  it('call_compress_below_threshold', async () => {
    await using pair = await overProxy(driver, { caller: COMPRESSED, server: COMPRESSED });
    expectWhole(await sizes(pair, THRESHOLD - 1), THRESHOLD - 1);
    expectWhole(await sizes(pair, THRESHOLD / 4), THRESHOLD / 4);
  });

  it('call_compress_at_threshold', async () => {
    await using pair = await overProxy(driver, { caller: COMPRESSED, server: COMPRESSED });
    expectWhole(await sizes(pair, THRESHOLD), THRESHOLD);
  });

  it.each([
    ['call_compress_disabled', { caller: {}, server: {} }],
    ['call_compress_disabled at the server', { caller: COMPRESSED, server: UNCOMPRESSED }],
    ['call_compress_disabled at the caller', { caller: UNCOMPRESSED, server: COMPRESSED }],
  ])('%s', async (_title, options) => {
    await using pair = await overProxy(driver, options);
    expectWhole(await sizes(pair, 20 * THRESHOLD), 20 * THRESHOLD);
  });

  it('call_compress_above_threshold of each end by its own', async () => {
    const server = { compression: { threshold: 10 * THRESHOLD, level: 9 } };
    await using pair = await overProxy(driver, { caller: COMPRESSED, server });
    const { argument, result } = await sizes(pair, 5 * THRESHOLD);
    expect(argument).toBeLessThan(LITTLE);
    expect(result).toBeGreaterThan(5 * THRESHOLD);
  });

  it('call_compress_above_threshold of casts, and of calls that fail', async () => {
    await using pair = await overProxy(driver, { caller: COMPRESSED, server: COMPRESSED });
    const text = 'x'.repeat(20 * THRESHOLD);
    const cast = await pair.passed(async () => {
      expect(pair.caller.cast(SERVER, 'text', 'take', [text])).toBe(true);
      // Behind it on the same connection: it has arrived when this is answered.
      await pair.caller.call(SERVER, 'text', 'take', ['']);
    });
    expect(pair.taken).toEqual([text, '']);
    expect(cast.up).toBeLessThan(LITTLE);
    const failed = await pair.passed(async () => {
      const reply = pair.caller.call(SERVER, 'text', 'undef', [text]);
      await expect(reply).rejects.toEqual(failure('undefined_function', 'badrpc', false, 'text.undef'));
    });
    expect(failed.up).toBeLessThan(LITTLE);
  });

  it('call_compress_above_threshold of bytes that cannot become smaller', async () => {
    await using pair = await overProxy(driver, { caller: COMPRESSED, server: COMPRESSED });
    await using plain = await overProxy(driver, { caller: UNCOMPRESSED, server: UNCOMPRESSED });
    expect(await noiseThrough(pair)).toEqual(await noiseThrough(plain));
  });
});

/** Bytes on the wire, both ways, for bytes without a pattern. */
function noiseThrough(pair: OverProxy): Promise<{ up: number; down: number }> {
  const noise = Buffer.from(new SeededRandom(1).bytes(4 * THRESHOLD));
  pair.server.register('bytes', { echo: ([bytes]: [Uint8Array]) => bytes });
  return pair.passed(async () => {
    await expect(pair.caller.call(SERVER, 'bytes', 'echo', [noise])).resolves.toEqual(noise);
  });
}
