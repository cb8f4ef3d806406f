/** What a test can do to a network in memory: delays between two hosts, connections that break, partitions. */
import { describe, expect, it } from 'vitest';
import type { Channel } from '../../lib/driver/driver.js';
import { MemoryNetwork } from '../../lib/driver/memory.driver.js';
import { VirtualClock } from '../../lib/testing/virtual-clock.js';

/** One end of a connection, and what came to it. */
class End {
  readonly heard: string[] = [];
  lost: string | undefined;

  constructor(readonly channel: Channel) {
    channel.open({
      data: (bytes) => void this.heard.push(bytes.toString()),
      drain: () => {},
      closed: (reason) => (this.lost = (reason.details as { cause?: string } | undefined)?.cause ?? reason.message),
    });
  }

  say(text: string): void {
    this.channel.send([Buffer.from(text)]);
  }
}

/** `b` and `c` listen; whoever connects to them is kept. */
async function world() {
  const clock = new VirtualClock();
  const network = new MemoryNetwork(clock);
  const accepted: End[] = [];
  for (const host of ['b', 'c']) {
    const accept = (channel: Channel): void => void accepted.push(new End(channel));
    await network.driver(host).listen({ host, port: 1, ipv6Only: false }, accept, () => {});
  }
  const connect = async (from: string, to: string, signal = new AbortController().signal) =>
    new End(await network.driver(from).connect({ host: to, port: 1 }, signal));
  const turn = (): Promise<void> => clock.advance(0);
  return { clock, network, accepted, connect, turn };
}

describe('MemoryNetwork', () => {
  it('delays what goes between two hosts, both ways, and nothing else', async () => {
    const { clock, network, accepted, connect } = await world();
    network.delay('b', 'a', 100);
    const [near, pending] = [await connect('a', 'c'), connect('a', 'b')];
    near.say('near');
    await clock.advance(99);
    expect(accepted.map(({ heard }) => heard)).toEqual([['near']]);
    await clock.advance(1);
    const far = await pending;
    far.say('far');
    accepted[1]?.say('back');
    await clock.advance(99);
    expect([accepted[1]?.heard, far.heard]).toEqual([[], []]);
    await clock.advance(1);
    expect([accepted[1]?.heard, far.heard]).toEqual([['far'], ['back']]);
  });

  it('keeps the order when a delay ends', async () => {
    const { clock, network, accepted, connect } = await world();
    const a = await connect('a', 'b');
    network.delay('a', 'b', 50);
    a.say('first');
    network.delay('a', 'b', 0);
    a.say('second');
    await clock.advance(49);
    expect(accepted[0]?.heard).toEqual([]);
    await clock.advance(1);
    a.say('third');
    await clock.advance(1);
    expect(accepted[0]?.heard).toEqual(['first', 'second', 'third']);
    a.say('at once');
    await clock.advance(0);
    expect(accepted[0]?.heard.at(-1)).toBe('at once');
  });

  it('cuts the connections between two hosts, whoever made them', async () => {
    const { network, accepted, connect } = await world();
    const [one, other, bystander] = [await connect('a', 'b'), await connect('c', 'b'), await connect('a', 'c')];
    network.cut('b', 'a');
    expect([one.lost, other.lost, bystander.lost]).toEqual(['ECONNRESET', undefined, undefined]);
    expect(accepted.map(({ lost }) => lost)).toEqual(['ECONNRESET', undefined, undefined]);
    await expect(connect('a', 'b')).resolves.toBeInstanceOf(End);
  });

  it('parts hosts without telling them: what they send, and their end, arrives when it has healed', async () => {
    const { network, accepted, connect, turn } = await world();
    const [a, c, stranger] = [await connect('a', 'b'), await connect('c', 'b'), await connect('x', 'b')];
    network.partition(['a'], ['b', 'c']);
    for (const end of [a, c, stranger]) end.say('hello');
    await turn();
    expect(accepted.map(({ heard }) => heard)).toEqual([[], ['hello'], ['hello']]);
    expect([a.lost, accepted[0]?.lost]).toEqual([undefined, undefined]);
    a.channel.close();
    network.heal();
    await turn();
    expect(accepted[0]?.heard).toEqual(['hello']);
    expect(accepted[0]?.lost).toBeDefined();
    expect(network.links.size).toBe(2);
  });

  it('lets who connects across a partition wait until it has healed, or is given up', async () => {
    const { network, accepted, connect, turn } = await world();
    network.partition(['a'], ['b']);
    const given = new AbortController();
    const pending = connect('a', 'b');
    const late = expect(connect('a', 'b', given.signal)).rejects.toMatchObject({ details: { cause: 'ETIMEDOUT' } });
    await connect('a', 'c');
    expect(accepted).toHaveLength(1);
    given.abort();
    await late;
    network.heal();
    await turn();
    await expect(pending).resolves.toBeInstanceOf(End);
    expect(accepted).toHaveLength(2);
  });

  it('replaces one partition by another', async () => {
    const { network, accepted, connect, turn } = await world();
    const [b, c] = [await connect('a', 'b'), await connect('a', 'c')];
    network.partition(['a'], ['b']);
    network.partition(['a'], ['c']);
    b.say('to b');
    c.say('to c');
    await turn();
    expect(accepted.map(({ heard }) => heard)).toEqual([['to b'], []]);
  });
});
