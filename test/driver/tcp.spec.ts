import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { describe, expect, it } from 'vitest';
import type { Channel, ChannelEvents } from '../../lib/driver/driver.js';
import { systemClock } from '../../lib/system/system.js';
import { TcpDriver } from '../../lib/driver/tcp.driver.js';
import type { GenRpcError } from '../../lib/protocol/errors.js';
import { Cluster } from '../support/cluster.js';
import { until } from '../support/door.js';
import { driverCompliance } from './compliance.js';

driverCompliance({
  name: 'tcp',
  // Nobody reads from a socket that has no owner.
  make: () => ({ driver: new TcpDriver(systemClock), endpoint: { host: '127.0.0.1', port: 0 }, block: () => () => {} }),
  ids: { portInUse: 'R-14' },
});

describe('driver tcp: a peer that is no node', () => {
  /** A channel at the driver's end, a plain socket at the other. */
  async function halves(): Promise<{ channel: Channel; socket: Socket; over: () => Promise<void> }> {
    const channels: Channel[] = [];
    const listener = await new TcpDriver(systemClock).listen(
      { host: '127.0.0.1', port: 0 },
      (channel) => channels.push(channel),
      () => {},
    );
    const socket = connect({ ...listener.address, allowHalfOpen: true });
    socket.on('error', () => {});
    await until(() => channels.length === 1);
    const [channel] = channels;
    if (channel === undefined) throw new Error('nothing was accepted');
    return {
      channel,
      socket,
      over: async () => {
        socket.destroy();
        await listener.close();
      },
    };
  }

  class Owner implements ChannelEvents {
    text = '';
    readonly reasons: GenRpcError[] = [];
    data(bytes: Buffer): void {
      this.text += bytes.toString();
    }
    drain(): void {}
    closed(reason: GenRpcError): void {
      this.reasons.push(reason);
    }
  }

  it('reads late, and writes while the channel closes: it gets everything that was sent', async () => {
    const { channel, socket, over } = await halves();
    const owner = new Owner();
    channel.open(owner);
    let received = 0;
    socket.pause();
    socket.on('data', (bytes) => (received += bytes.length));
    const ended = new Promise((resolve) => socket.once('close', resolve).once('end', () => socket.end()));
    // So much that some has not left the system of the sender, which takes all of it.
    const sent = 1024 * 1024;
    for (let left = sent; left > 0; left -= 16 * 1024) channel.send([Buffer.alloc(16 * 1024)]);
    await until(() => channel.queuedBytes === 0);
    channel.close();
    for (let turn = 0; turn < 10; turn += 1) {
      socket.write('too late for the other side');
      await new Promise((resolve) => setImmediate(resolve));
    }
    socket.resume();
    await ended;
    expect(received).toBe(sent);
    await until(() => owner.reasons.length === 1);
    expect(owner.text).toBe('');
    await over();
  });

  it('half-closes: that is the end, after its last bytes and after what was sent to it', async () => {
    const { channel, socket, over } = await halves();
    const owner = new Owner();
    channel.open(owner);
    let answer = '';
    socket.on('data', (bytes) => (answer += bytes.toString()));
    channel.send([Buffer.from('hello')]);
    socket.end('bye');
    await until(() => owner.reasons.length > 0);
    expect(owner).toMatchObject({ text: 'bye', reasons: [{ code: 'connection_lost' }] });
    await until(() => socket.readableEnded);
    expect(answer).toBe('hello');
    expect(channel.send([Buffer.from('more')])).toBe(false);
    await over();
    expect(owner.reasons).toHaveLength(1);
  });

  it("resets: the reason names the system's code", async () => {
    const { channel, socket, over } = await halves();
    const owner = new Owner();
    channel.open(owner);
    socket.resetAndDestroy();
    await until(() => owner.reasons.length > 0);
    expect(owner.reasons).toMatchObject([{ code: 'connection_lost', details: { cause: 'ECONNRESET' } }]);
    await over();
  });

  it('resets before there is an owner: nothing is thrown, the owner is told', async () => {
    const { channel, socket, over } = await halves();
    socket.resetAndDestroy();
    await once(socket, 'close');
    const owner = new Owner();
    channel.open(owner);
    await until(() => owner.reasons.length > 0);
    expect(owner.reasons).toMatchObject([{ code: 'connection_lost' }]);
    await over();
  });
});

describe('driver tcp: a node that cannot listen', () => {
  it("R-14 says where, with the system's code, and leaves nothing behind", async () => {
    const taken = createServer();
    await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve));
    const { port } = taken.address() as AddressInfo;
    {
      await using cluster = new Cluster({ driver: 'tcp' });
      const start = cluster.start('b', { listen: { port } });
      await expect(start).rejects.toMatchObject({
        code: 'EADDRINUSE',
        message: expect.stringContaining(`127.0.0.1:${port} (EADDRINUSE)`),
      });
    }
    await new Promise((resolve) => taken.close(resolve));
  });
});
