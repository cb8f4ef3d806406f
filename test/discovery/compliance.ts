/** What every source of nodes must do, whatever it reads: one suite, run for each of them. */
import { describe, expect, it } from 'vitest';
import { AddressBook } from '../../lib/discovery/address-book.js';
import type { Discovery, Location } from '../../lib/discovery/discovery.js';
import { isGenRpcError } from '../../lib/protocol/errors.js';
import { socketsOf } from '../support/child-node.js';
import { CountedClock } from '../support/counted-clock.js';
import { until } from '../support/door.js';
import { FALLBACK, SourceTable, type Places } from '../support/source-table.js';

export type { Places };

/** What a source reads, in a test's hand. */
export interface SourceWorld extends AsyncDisposable {
  readonly source: Discovery;
  /** Nodes that are there from the start; two at least. */
  readonly known: Places;
  /** Adds a node and removes one. Returns what is there now. */
  readonly change?: () => Promise<Places>;
  /** Writes beside the nodes that are there what no source may trust. They stay as they are. */
  readonly spoil?: () => Promise<void>;
  /** From now on nobody answers the source, and nobody says no. */
  readonly silence?: () => Promise<void>;
}

export interface SourceTraits {
  /** What it says of a node that it does not know: that it is where its name says, or that there is none. */
  readonly unknown: 'by its name' | 'none';
}

/** @param start makes a world of its own for each test; what the source waits for, it waits for on `clock` */
export function describeSource(
  title: string,
  start: (clock: CountedClock) => Promise<SourceWorld>,
  traits: SourceTraits,
): void {
  /** Runs `body`, closes the source, and asserts that nothing of it is left. */
  async function withWorld(body: (world: SourceWorld, table: SourceTable) => Promise<void>): Promise<void> {
    const clock = new CountedClock();
    await using world = await start(clock);
    const table = new SourceTable();
    const sockets = socketsOf();
    try {
      await body(world, table);
    } finally {
      await world.source.close?.();
      table.membership.close();
    }
    expect(clock.pending).toBe(0);
    await until(() => socketsOf() <= sockets);
  }

  function asking(source: Discovery): (node: string, signal?: AbortSignal) => Promise<readonly Location[]> {
    const { membership } = new SourceTable();
    const book = new AddressBook({ membership, source, nodes: new Map(), fallback: FALLBACK });
    return (node, signal = AbortSignal.timeout(10_000)) => book.resolve(node, signal);
  }

  describe(`${title}, as a source of nodes`, () => {
    it('tells where each node is that it knows', () =>
      withWorld(async ({ source, known }) => {
        for (const [node, places] of Object.entries(known)) await expect(asking(source)(node)).resolves.toEqual(places);
      }));

    it(`says of a node that it does not know: ${traits.unknown}`, () =>
      withWorld(async ({ source }) => {
        const answer = asking(source)('nobody@127.0.0.9');
        if (traits.unknown === 'by its name') {
          await expect(answer).resolves.toEqual([{ ...FALLBACK, host: '127.0.0.9' }]);
          return;
        }
        const error: unknown = await answer.catch((cause: unknown) => cause);
        expect(error).toMatchObject({ code: 'external_source_error', maybeExecuted: false });
        expect(String(error)).toContain('nobody@127.0.0.9');
      }));

    it('says nothing to whoever no longer asks', () =>
      withWorld(async ({ source, known, silence }) => {
        const [node = ''] = Object.keys(known);
        if (silence === undefined) {
          // It may know by heart; but it must not wait.
          await asking(source)(node, AbortSignal.abort(new Error('enough'))).catch(() => undefined);
          return;
        }
        await silence();
        const asker = new AbortController();
        const answer = asking(source)(node, asker.signal);
        asker.abort(new Error('enough'));
        const error: unknown = await answer.catch((cause: unknown) => cause);
        expect(isGenRpcError(error) && error.code).toBe('external_source_error');
      }));

    it('tells of all nodes by itself, where it can', () =>
      withWorld(async ({ source, known }, table) => {
        if (source.watch === undefined) return;
        source.watch(table.membership);
        await table.holds(known);
        expect(table).toMatchObject({ refused: [], failures: [] });
      }));

    it('tells of nodes that come and go, where they can', () =>
      withWorld(async ({ source, known, change }, table) => {
        if (source.watch === undefined || change === undefined) return;
        source.watch(table.membership);
        await table.holds(known);
        await table.holds(await change());
        expect(table).toMatchObject({ refused: [], failures: [] });
      }));

    it('goes on telling of nodes when something else stands beside them', () =>
      withWorld(async ({ source, known, change, spoil }, table) => {
        if (source.watch === undefined || spoil === undefined) return;
        await spoil();
        source.watch(table.membership);
        await table.holds(known);
        if (change !== undefined) await table.holds(await change());
        expect(table.failures).toEqual([]);
        for (const line of table.refused) expect(line).toMatch(/^[\x20-\x7e…]+$/);
      }));

    it('can be closed at any time, and again', () =>
      withWorld(async ({ source, known }, table) => {
        const [node = ''] = Object.keys(known);
        source.watch?.(table.membership);
        const answer = asking(source)(node).catch(() => undefined);
        await Promise.all([source.close?.(), source.close?.()]);
        await source.close?.();
        await answer;
        const { version } = table.membership;
        await new Promise((resolve) => setImmediate(resolve));
        expect(table.membership.version).toBe(version);
      }));

    it('can be closed while nobody answers it', () =>
      withWorld(async ({ source, silence }, table) => {
        await silence?.();
        source.watch?.(table.membership);
        await source.close?.();
      }));
  });
}
