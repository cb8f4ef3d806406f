import { describe, expect, it } from 'vitest';
import type { Channel } from '../../lib/driver/driver.js';
import { twoNodes } from '../support/cluster.js';
import { until } from '../support/door.js';
import { authority, LOOPBACK_TLS, tlsDriver } from '../support/tls.js';
import { driverCompliance } from './compliance.js';

driverCompliance({
  name: 'tls',
  // Nobody reads from a socket that has no owner.
  make: () => ({ driver: tlsDriver(), endpoint: { host: '127.0.0.1', port: 0 }, block: () => () => {} }),
  ids: { portInUse: 'R-14' },
});

describe('driver tls', () => {
  it('shows both ends the certificate of the other', async () => {
    const ours = await (await authority()).issue('a@a.local');
    const driver = tlsDriver();
    const accepted: Channel[] = [];
    const listener = await driver.listen(
      { host: '127.0.0.1', port: 0 },
      (channel) => accepted.push(channel),
      () => {},
    );
    const dialled = await tlsDriver({ ...LOOPBACK_TLS, ...ours }).connect(
      listener.address,
      AbortSignal.timeout(10_000),
    );
    dialled.send([Buffer.from('x')]);
    let heard = 0;
    accepted[0]?.open({ data: (bytes) => (heard += bytes.length), drain: () => {}, closed: () => {} });
    await until(() => heard === 1);
    expect(dialled.certificate).toMatchObject({
      subject: 'CN=any@localhost',
      names: expect.arrayContaining(['DNS:localhost']),
    });
    expect(accepted[0]?.certificate).toMatchObject({
      subject: 'CN=a@a.local',
      names: ['DNS:a.local', 'URI:genrpc:a@a.local'],
      fingerprint: expect.stringMatching(/^([0-9A-F]{2}:){31}[0-9A-F]{2}$/),
    });
    expect(accepted[0]?.certificate?.mismatch('a@a.local')).toBeUndefined();
    expect(accepted[0]?.certificate?.mismatch('b@a.local')).toContain('not for node b@a.local');
    expect(accepted[0]?.certificate?.mismatch('a@b.local')).toContain('not for host b.local');
    for (const channel of [dialled, ...accepted]) channel.close();
    await listener.close();
  });
});

describe('a node over TLS', () => {
  it('answers calls, and its functions know the certificate of the caller', async () => {
    await using nodes = await twoNodes({ driver: 'tls' });
    nodes.b.register('who', { calls: (_args, { caller }) => caller.certificate?.names });
    await expect(nodes.a.call('b@127.0.0.1', 'math', 'add', [1, 2])).resolves.toBe(3);
    await expect(nodes.a.call('b@127.0.0.1', 'who', 'calls')).resolves.toContain('IP Address:127.0.0.1');
    expect(nodes.b.endpoints()).toMatchObject([{ driver: 'tls', host: '127.0.0.1' }]);
  });
});
