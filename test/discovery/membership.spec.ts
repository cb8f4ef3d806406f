/** The table of members: what of a source's lists is believed, and when. */
import { describe, expect, it } from 'vitest';
import type { NodeRecord } from '../../lib/discovery/discovery.js';
import { Membership } from '../../lib/discovery/membership.js';
import { VirtualClock } from '../../lib/testing/virtual-clock.js';

const HOUR_MS = 3_600_000;

/** A table, what it said, and who is connected. */
class Table {
  readonly clock = new VirtualClock();
  readonly connected = new Set<string>();
  readonly changes: string[] = [];
  readonly refused: string[] = [];
  readonly failures: string[] = [];
  doubts = 0;

  readonly membership = new Membership({
    clock: this.clock,
    isConnected: (node) => this.connected.has(node),
    problemOf: ({ name }) => (name.startsWith('unwanted@') ? 'nobody wants it' : undefined),
    events: {
      changed: (name, now, before) => this.changes.push(`${before === undefined ? '+' : now ? '~' : '-'}${name}`),
      refused: (why) => this.refused.push(why),
      failed: ({ message }) => this.failures.push(message),
      doubted: () => (this.doubts += 1),
      read() {},
    },
  });

  get names(): string[] {
    return [...this.membership.all()].map(({ record }) => record.name);
  }

  tell(...records: unknown[]): boolean {
    return this.membership.members(records);
  }

  placesOf(name: string): unknown[] {
    return [...(this.membership.get(name)?.record.locations ?? [])].map(({ host, port }) => `${host}:${port}`);
  }
}

function at(name: string, port = 5369, more: Partial<NodeRecord> = {}): NodeRecord {
  return { name, locations: [{ host: '10.0.0.1', port }], ...more };
}

type Hostile = [what: string, record: unknown, why: string];

const HOSTILE: Hostile[] = [
  ['no record', 7, 'a record was expected, got "7"'],
  ['no name', { locations: [{}] }, 'its name must be name@host'],
  ['a name without a host', { ...at('a@h'), name: 'a' }, 'got "a"'],
  ['a name that is a path', { ...at('a@h'), name: '../a@h' }, 'got "../a@h"'],
  ['no place', { name: 'a@h', locations: [] }, 'its locations must be a list of 1 to 16, got 0 of them'],
  ['too many places', { name: 'a@h', locations: Array(17).fill({}) }, 'got 17 of them'],
  ...[0, 70_000, 1.5, '5369'].map((port): Hostile => [
    `port ${port}`,
    at('a@h', port as number),
    'a port must be from 1 to 65535',
  ]),
  ...['0.0.0.0', '169.254.169.254', '2852039166', '0xa9fea9fe', '224.0.0.1', '255.255.255.255', '::', 'fe80::1']
    .concat(['ff02::1', '::ffff:169.254.169.254', 'no host', 'a\nb', '', 'x'.repeat(254)])
    .map((host): Hostile => [`host ${JSON.stringify(host)}`, { name: 'a@h', locations: [{ host }] }, 'address']),
  ['a driver of a megabyte', { name: 'a@h', locations: [{ driver: 'x'.repeat(2 ** 20) }] }, 'its driver must be text'],
  ['a module that is none', at('a@h', 1, { modules: [{ name: 7 } as never] }), 'its module must be text'],
  [
    'modules of a megabyte',
    at('a@h', 1, { modules: Array(10_000).fill({ name: 'm', versions: [] }) }),
    '10000 of them',
  ],
  ['a driver that is no text', { name: 'a@h', locations: [{ driver: '\ud800' }] }, 'its driver must be text'],
  ['too many versions', at('a@h', 1, { modules: [{ name: 'm', versions: Array(101).fill('') }] }), 'got 101 of them'],
  ['a priority that is too low', at('a@h', 1, { priority: 65_536 }), 'its priority must be a whole number'],
  ['a priority that is none', at('a@h', 1, { priority: -1 }), 'its priority must be a whole number'],
  ['a weight that is none', at('a@h', 1, { weight: Infinity }), 'its weight must be a whole number'],
  ['what is not wanted here', at('unwanted@h'), 'unwanted@h: nobody wants it'],
];

describe('the table of members', () => {
  it('takes a list as a whole: who is new, who has changed, who is gone', () => {
    const table = new Table();
    expect(table.membership.ageMs).toBeUndefined();
    table.tell(at('a@h'), at('b@h'));
    table.tell(at('a@h'), at('b@h', 6000), at('c@h'));
    table.tell(at('b@h', 6000), at('c@h'));
    expect(table.changes).toEqual(['+a@h', '+b@h', '~b@h', '+c@h', '-a@h']);
    expect(table.names).toEqual(['b@h', 'c@h']);
  });

  it('is not changed by a list that says the same, in another order', () => {
    const table = new Table();
    table.tell(at('a@h'), at('b@h'));
    const { version } = table.membership;
    table.tell(at('b@h'), at('a@h'));
    expect(table.membership.version).toBe(version);
    expect(table.changes).toHaveLength(2);
  });

  it('is of use before the source is, by what was known before; the source knows better', () => {
    const table = new Table();
    table.membership.restore([at('a@h'), at('b@h'), 'rubbish']);
    expect(table.names).toEqual(['a@h', 'b@h']);
    expect(table.membership.ageMs).toBeUndefined();
    table.tell(at('b@h'), at('c@h'));
    expect(table.names).toEqual(['b@h', 'c@h']);
    table.membership.restore([at('a@h')]);
    expect(table.names).toEqual(['b@h', 'c@h']);
  });

  it('D-02 keeps everyone for as long as the source cannot tell, and says how old that is', async () => {
    const table = new Table();
    table.tell(at('a@h'), at('b@h'));
    for (let minute = 0; minute < 60; minute += 1) {
      table.membership.failed(new Error('down'));
      await table.clock.advance(60_000);
    }
    expect(table.names).toEqual(['a@h', 'b@h']);
    expect(table.membership.ageMs).toBe(HOUR_MS);
    expect(table.changes).toEqual(['+a@h', '+b@h']);
    expect(table.failures).toHaveLength(60);
    table.tell(at('a@h'));
    expect(table.membership.ageMs).toBe(0);
    expect(table.names).toEqual(['a@h']);
  });

  it('D-03 believes that nobody is left only when it is told twice', () => {
    const table = new Table();
    expect(table.tell(at('a@h'))).toBe(true);
    expect(table.tell()).toBe(false);
    expect(table.names).toEqual(['a@h']);
    expect(table.tell(at('a@h'))).toBe(true);
    // A doubt that was answered is over: the next one begins anew.
    expect(table.tell()).toBe(false);
    expect(table.tell()).toBe(true);
    expect(table.names).toEqual([]);
    expect(table.doubts).toBe(2);
    expect(table.tell()).toBe(true);
  });

  it('D-03 takes 10,000 records, and a list of which none is usable for a failure', () => {
    const table = new Table();
    table.tell(...Array.from({ length: 10_000 }, (_, n) => at(`n${n}@h`)));
    expect(table.membership.size).toBe(10_000);
    expect(table.tell('rubbish', null, 7)).toBe(true);
    expect(table.membership.size).toBe(10_000);
    expect(table.refused).toHaveLength(3);
    expect(table.failures).toEqual(['None of the 3 records can be used.']);
  });

  it('D-05 keeps a node that is no longer told of while there is a connection to it', () => {
    const table = new Table();
    table.tell(at('a@h'), at('b@h'));
    table.connected.add('a@h');
    table.tell(at('b@h'));
    expect(table.membership.get('a@h')?.listed).toBe(false);
    table.tell(at('a@h'), at('b@h'));
    expect(table.membership.get('a@h')?.listed).toBe(true);
    table.tell(at('b@h'));
    table.connected.delete('a@h');
    table.membership.disconnected('a@h');
    // It has changed three times by now, and has to wait for the fourth.
    expect(table.names).toEqual(['a@h', 'b@h']);
  });

  it('D-05 lets it go with its last connection', () => {
    const table = new Table();
    table.tell(at('a@h'), at('b@h'));
    table.connected.add('a@h');
    table.tell(at('b@h'));
    table.connected.delete('a@h');
    table.membership.disconnected('a@h');
    expect(table.names).toEqual(['b@h']);
    expect(table.changes).toEqual(['+a@h', '+b@h', '~a@h', '-a@h']);
  });

  it('D-06 changes one that flaps three times in ten seconds at most, and ends with what is so', async () => {
    const table = new Table();
    table.tell(at('calm@h'));
    let listed = false;
    for (let ms = 0; ms < 60_000; ms += 100) {
      listed = !listed;
      table.tell(at('calm@h'), ...(listed ? [at('flaps@h')] : []));
      await table.clock.advance(100);
    }
    const flaps = table.changes.filter((change) => change.includes('flaps'));
    expect(flaps.length).toBeLessThanOrEqual(3 * 7);
    expect(flaps.length).toBeGreaterThan(3);
    table.tell(at('calm@h'), at('flaps@h', 7000));
    await table.clock.advance(20_000);
    expect(table.placesOf('flaps@h')).toEqual(['10.0.0.1:7000']);
    expect(table.clock.pending).toBe(0);
    expect(table.changes.filter((change) => change.includes('calm'))).toEqual(['+calm@h']);
  });

  it('D-06 changes one that moves all the time no more often, and another at once meanwhile', async () => {
    const table = new Table();
    for (let port = 1; port <= 100; port += 1) {
      table.tell(at('moves@h', port));
      await table.clock.advance(50);
    }
    expect(table.changes).toEqual(['+moves@h', '~moves@h', '~moves@h']);
    table.tell(at('moves@h', 100), at('new@h'));
    expect(table.names).toContain('new@h');
    await table.clock.advance(10_000);
    expect(table.placesOf('moves@h')).toEqual(['10.0.0.1:100']);
    table.membership.close();
    expect(table.clock.pending).toBe(0);
  });

  it('waits for nothing once it is closed, whatever is told or lost then', () => {
    const table = new Table();
    for (const port of [1, 2, 3]) table.tell(at('moves@h', port));
    table.connected.add('moves@h');
    table.tell(at('calm@h'));
    table.membership.close();
    table.connected.clear();
    table.membership.disconnected('moves@h');
    table.tell(at('late@h'));
    expect([table.clock.pending, table.names]).toEqual([0, ['moves@h', 'calm@h']]);
  });

  it('holds nothing back that has become what it was', async () => {
    const table = new Table();
    for (const port of [1, 2, 3, 4, 3]) table.tell(at('moves@h', port));
    expect(table.clock.pending).toBe(0);
    await table.clock.advance(20_000);
    expect(table.changes).toHaveLength(3);
  });

  it.each(HOSTILE)('D-07 refuses %s, and takes the rest of the list', (_, record, why) => {
    const table = new Table();
    table.tell(at('good@h'), record);
    expect(table.names).toEqual(['good@h']);
    expect(table.refused).toHaveLength(1);
    expect(table.refused[0]).toContain(why);
    expect(table.refused[0]).toMatch(/^[\x20-\x7e…]{1,400}$/);
  });

  it('D-07 refuses what throws when it is looked at', () => {
    const table = new Table();
    const hostile = {
      get name(): string {
        throw new Error('look away');
      },
    };
    table.tell(hostile, at('good@h'));
    expect(table.names).toEqual(['good@h']);
    expect(table.refused).toEqual(['look away']);
  });

  it('D-10 makes one node of two records of one name, in the same order whichever comes first', () => {
    const [one, other] = [at('a@h', 6000), at('a@h', 5000)];
    const places = [
      [one, other],
      [other, one],
    ].map((records) => {
      const table = new Table();
      table.tell(...records);
      expect(table.changes).toEqual(['+a@h']);
      return table.placesOf('a@h');
    });
    expect(places).toEqual([
      ['10.0.0.1:5000', '10.0.0.1:6000'],
      ['10.0.0.1:5000', '10.0.0.1:6000'],
    ]);
  });

  it('D-10 makes one node of many records of one name, and is not changed by another order of them', () => {
    const ports = [5000, 6000, 7000, 8000];
    const table = new Table();
    table.tell(...ports.map((port) => at('a@h', port)));
    for (const first of ports) {
      const others = ports.filter((port) => port !== first).reverse();
      table.tell(...[first, ...others].map((port) => at('a@h', port)));
    }
    expect(table.changes).toEqual(['+a@h']);
    expect(table.placesOf('a@h')).toEqual(ports.map((port) => `10.0.0.1:${port}`));
  });

  it('D-07 tries no more places of a node for being told of it ten thousand times', () => {
    const table = new Table();
    table.tell(...Array.from({ length: 10_000 }, (_, n) => at('a@h', 1 + n)));
    expect(table.placesOf('a@h')).toHaveLength(16);
  });
});
