/** The domain name system by Node's own resolver, asked over real sockets. */
import { describe, expect, it } from 'vitest';
import { systemNameServer } from '../../lib/system/system-name-server.js';
import type { NameServer } from '../../lib/ports/name-server.js';
import { DnsServer, type DnsFault } from '../support/dns-server.js';
import { until } from '../support/door.js';

const NAME = 'math.test';

function asking({ address }: DnsServer, timeout = 15_000): NameServer {
  return systemNameServer([address], timeout);
}

const NEVER = new AbortController().signal;

describe('a name server', () => {
  it('tells addresses with their TTL, and targets with their ports', async () => {
    await using server = await DnsServer.start();
    server.set(
      NAME,
      { type: 'A', address: '10.0.0.1', ttl: 7 },
      { type: 'A', address: '10.0.0.2', ttl: 0 },
      { type: 'AAAA', address: 'fd00::1', ttl: 30 },
      { type: 'SRV', target: 'One.Math.test.', port: 5369, priority: 1, weight: 10 },
      { type: 'SRV', target: '.', port: 0, priority: 2, weight: 0 },
    );
    const names = asking(server);
    await expect(names.a(NAME, NEVER)).resolves.toEqual([
      { address: '10.0.0.1', ttl: 7 },
      { address: '10.0.0.2', ttl: 0 },
    ]);
    await expect(names.aaaa(NAME, NEVER)).resolves.toEqual([{ address: 'fd00::1', ttl: 30 }]);
    // Node 24 names the type of each as well.
    await expect(names.srv(NAME, NEVER)).resolves.toMatchObject([
      { name: 'One.Math.test', port: 5369, priority: 1, weight: 10 },
      { name: '', port: 0, priority: 2, weight: 0 },
    ]);
  });

  it('is asked each time, whatever the TTL', async () => {
    await using server = await DnsServer.start();
    server.set(NAME, { type: 'A', address: '10.0.0.1', ttl: 3600 });
    const names = asking(server);
    await names.a(NAME, NEVER);
    server.set(NAME, { type: 'A', address: '10.0.0.2', ttl: 3600 });
    await expect(names.a(NAME, NEVER)).resolves.toEqual([{ address: '10.0.0.2', ttl: 3600 }]);
    expect(server.asked(`A ${NAME}`)).toBe(2);
  });

  it.each<[DnsFault | 'nothing', string]>([
    ['nothing', 'ENODATA'],
    ['NXDOMAIN', 'ENOTFOUND'],
    ['SERVFAIL', 'ESERVFAIL'],
    ['REFUSED', 'EREFUSED'],
    ['garbage', 'EBADRESP'],
  ])('that answers %s is told apart by its code', async (fault, code) => {
    await using server = await DnsServer.start();
    server.set(NAME);
    server.fail(NAME, fault === 'nothing' ? undefined : fault);
    const names = asking(server);
    for (const answer of [names.a(NAME, NEVER), names.aaaa(NAME, NEVER), names.srv(NAME, NEVER)]) {
      await expect(answer).rejects.toMatchObject({ code });
    }
  });

  it('that is silent is given up in time; where nobody is, at once', async () => {
    await using server = await DnsServer.start();
    server.fail(NAME, 'silent');
    await expect(asking(server, 90).a(NAME, NEVER)).rejects.toMatchObject({ code: 'ETIMEOUT' });
    const { address } = server;
    await server[Symbol.asyncDispose]();
    await expect(systemNameServer([address], 15_000).a(NAME, NEVER)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
  });

  it('that is silent is no longer asked once nobody wants to know', async () => {
    await using server = await DnsServer.start();
    server.fail(NAME, 'silent');
    const asker = new AbortController();
    const names = asking(server);
    const answers = [names.a(NAME, asker.signal), names.srv(NAME, asker.signal)].map(async (answer) =>
      expect(answer).rejects.toMatchObject({ code: 'ECANCELLED' }),
    );
    server.addresses('other.test', '10.0.0.1');
    const other = names.a('other.test', NEVER);
    await until(() => server.queries.length >= 2);
    asker.abort();
    await Promise.all(answers);
    await expect(other).resolves.toHaveLength(1);
    await expect(names.a(NAME, asker.signal)).rejects.toBe(asker.signal.reason);
  });

  it('whose answer does not fit is asked again over TCP', async () => {
    await using server = await DnsServer.start();
    server.addresses(NAME, ...Array.from({ length: 4000 }, (_, at) => `10.1.${at >> 8}.${at & 255}`));
    await expect(asking(server).a(NAME, NEVER)).resolves.toHaveLength(4000);
    expect(server.queries).toEqual([`udp A ${NAME}`, `tcp A ${NAME}`]);
  });

  it('is one of several, of which one that fails is passed over', async () => {
    await using broken = await DnsServer.start();
    await using server = await DnsServer.start();
    broken.fail(NAME, 'SERVFAIL');
    server.addresses(NAME, '10.0.0.1');
    const names = systemNameServer([broken.address, server.address], 15_000);
    await expect(names.a(NAME, NEVER)).resolves.toMatchObject([{ address: '10.0.0.1' }]);
  });
});
