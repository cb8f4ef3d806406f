import { describe, expect, it } from 'vitest';
import type { Channel, ChannelEvents, Driver } from '../../lib/driver/driver.js';
import { systemClock } from '../../lib/system/system.js';
import { TcpDriver } from '../../lib/driver/tcp.driver.js';
import { GenRpcError } from '../../lib/protocol/errors.js';
import { until } from '../support/door.js';
import { tlsDriver } from '../support/tls.js';

const MIB = 1024 * 1024;

interface Channels extends AsyncDisposable {
  readonly dialled: readonly Channel[];
  readonly accepted: readonly Channel[];
}

/** Two channels, both ends of them without an owner. */
async function channelsOf(driver: Driver): Promise<Channels> {
  const accepted: Channel[] = [];
  const endpoint = { host: '127.0.0.1', port: 0 };
  const listener = await driver.listen(endpoint, (channel) => accepted.push(channel), fail);
  const signal = AbortSignal.timeout(10_000);
  const dialled = [await driver.connect(listener.address, signal), await driver.connect(listener.address, signal)];
  await until(() => accepted.length === 2);
  const end = async (): Promise<void> => {
    for (const channel of [...dialled, ...accepted])
      channel.abort(new GenRpcError('connection_lost', 'the test is over'));
    await listener.close();
  };
  return { dialled, accepted, [Symbol.asyncDispose]: end };
}

describe.each([
  ['tcp', () => new TcpDriver(systemClock)],
  ['tls', () => tlsDriver()],
])('what sockets of the driver %s read', (name, make) => {
  it('is read into one buffer, where the driver can say so', async () => {
    await using channels = await channelsOf(make());
    const ends = [...channels.dialled, ...(name === 'tcp' ? channels.accepted : [])];
    const buffers = new Set<ArrayBufferLike>();
    for (const channel of name === 'tcp' ? [] : channels.accepted) read(channel);
    const sizes = ends.map((channel) => read(channel, (bytes) => buffers.add(bytes.buffer)));
    for (const channel of [...channels.dialled, ...channels.accepted]) channel.send([Buffer.alloc(MIB, 1)]);
    await until(() => sizes.every((size) => size() === MIB));
    expect(buffers.size).toBe(1);
  });

  it.each(['dialled', 'accepted'] as const)('is little while the %s end has no owner, and then all', async (end) => {
    await using channels = await channelsOf(make());
    const senders = channels[end === 'dialled' ? 'accepted' : 'dialled'];
    for (const sender of senders) sender.send([Buffer.alloc(16 * MIB, 1)]);
    const [unowned, owned] = channels[end];
    // The bytes of both come at the same time.
    const arrived = read(owned);
    await until(() => arrived() === 16 * MIB);
    expect(senders[0]?.queuedBytes).toBeGreaterThan(0);
    const late = read(unowned);
    await until(() => late() === 16 * MIB);
  });
});

/** Opens the channel; the returned function says how much has come. */
function read(channel: Channel | undefined, each: ChannelEvents['data'] = () => {}): () => number {
  let size = 0;
  const data = (bytes: Buffer): void => {
    size += bytes.length;
    each(bytes);
  };
  channel?.open({ data, drain: () => {}, closed: () => {} });
  return () => size;
}

function fail(error: Error): never {
  throw error;
}
