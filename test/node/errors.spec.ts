import { describe, expect, it } from 'vitest';
import type { Occurrence } from '../../lib/connection/journal.js';
import type { CallOptions } from '../../lib/node/call-options.js';
import type { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import { GenRpcError, isGenRpcError, type GenRpcErrorCode } from '../../lib/protocol/errors.js';
import { until } from '../support/door.js';
import { B, realPair, REMOTE, ROWS, type Counts, type Row } from './error-rows.js';

async function failureOf(reply: Promise<unknown>): Promise<GenRpcError> {
  return reply.then(
    () => expect.fail('it did not fail'),
    (error: GenRpcError) => error,
  );
}

type Asked = (a: GenRpcNode, what: Row['what'], options: CallOptions) => Promise<GenRpcError>;

/** The verbs that bring an error back. */
const VERBS: Readonly<Record<string, Asked>> = {
  call: (a, [module, fn, args], options) => failureOf(a.call(B, module, fn, args, options)),
  'asyncCall and yield': (a, [module, fn, args], options) =>
    failureOf(a.asyncCall(B, module, fn, args, options).yield()),
  'asyncCall and nbYield': (a, [module, fn, args], options) =>
    failureOf(a.asyncCall(B, module, fn, args, options).nbYield(Infinity)),
  multicall: async (a, [module, fn, args = []], options) => {
    const { outcomes, results, badNodes } = await a.multicall([B], module, fn, args, options);
    expect({ results, badNodes }).toEqual({ results: [], badNodes: [B] });
    const [outcome] = outcomes;
    if (outcome === undefined || outcome.ok) return expect.fail('it did not fail');
    expect(outcome.node).toBe(B);
    return outcome.error;
  },
};

const CASES = ROWS.flatMap((row) => Object.keys(VERBS).map((verb) => ({ ...row, verb })));

describe('an error, whichever verb made the call', () => {
  it.each(CASES)('has one shape: $code ($gen) from $verb', async ({ verb, what, ground, ...row }) => {
    await using place = await ground();
    const [error] = await Promise.all([VERBS[verb]?.(place.a, what, place.options ?? {}), place.happens?.()]);
    const { code, family, maybeExecuted } = row;
    expect({ code: error?.code, family: error?.family, maybeExecuted: error?.maybeExecuted }).toEqual({
      ...{ code, family, maybeExecuted },
    });
    expect(error).toBeInstanceOf(GenRpcError);
    expect(error).toBeInstanceOf(Error);
    expect(isGenRpcError(error)).toBe(true);
    expect(error?.name).toBe('GenRpcError');
    expect(error?.message).not.toBe('');
    for (const said of [error?.message, error?.stack, JSON.stringify(error), String(error?.cause)]) {
      expect(said).not.toMatch(new RegExp(`${REMOTE}|remoteFunction`));
    }
    expect(place.a.stats().pendingCalls).toBe(0);
  });

  it('is known by a table that these tests walk through, but for certificates', () => {
    const untested: readonly GenRpcErrorCode[] = ['invalid_argument', 'node_certificate_mismatch'];
    const table: Record<GenRpcErrorCode, true> = {
      ...{ timeout: true, cancelled: true, node_down: true, unauthorized: true, incompatible: true },
      ...{ undefined_function: true, handler_failed: true, refused: true, protocol_error: true, encode_error: true },
      ...{ message_too_large: true, invalid_argument: true, invalid_cookie: true, external_source_error: true },
      ...{ connection_lost: true, shutting_down: true, send_timeout: true, wrong_node: true, version_mismatch: true },
      node_certificate_mismatch: true,
    };
    expect([...ROWS.map(({ code }) => code), ...untested].toSorted()).toEqual(Object.keys(table).toSorted());
  });
});

describe('sbcast', () => {
  it.each(ROWS.filter(({ sbcast }) => sbcast !== undefined))(
    'puts a node where the message meets $code among the $sbcast ones, and never fails',
    async ({ what: [module, fn, args], ground, sbcast }) => {
      await using place = await ground();
      const name = `${String(module)}.${fn}`;
      const sent = place.a.sbcast([B], name, args?.[0], place.options ?? {});
      const [answer] = await Promise.all([sent, place.happens?.()]);
      expect(answer).toEqual({ good: [], bad: [], [sbcast ?? '']: [B] });
    },
  );
});

describe('cast', () => {
  it.each(ROWS.filter(({ cast }) => typeof cast === 'object'))(
    'is accepted, and what goes wrong later is counted: $code',
    async ({ what: [module, fn, args], ground, cast }) => {
      await using place = await ground();
      expect(place.a.cast(B, module, fn, args)).toBe(true);
      await place.happens?.();
      const { here = {}, there = {} } = typeof cast === 'object' ? cast : {};
      const seen = (node: GenRpcNode | undefined, wanted: Counts): Counts => {
        const counts: Counts = node?.stats().counts ?? {};
        return Object.fromEntries(Object.keys(wanted).map((kind) => [kind, counts[kind as Occurrence]]));
      };
      await until(() => Object.keys(here).every((kind) => kind in place.a.stats().counts));
      await until(() => Object.keys(there).every((kind) => kind in (place.b?.stats().counts ?? {})));
      expect({ here: seen(place.a, here), there: seen(place.b, there) }).toEqual({ here, there });
    },
  );

  it.each(ROWS.filter(({ cast }) => cast === 'throws'))(
    'throws what is wrong with the call itself, on every way to send one: $code',
    async ({ what: [module, fn, args = []], ground, code }) => {
      await using place = await ground();
      const { a } = place;
      const thrown = expect.objectContaining({ code, maybeExecuted: false });
      expect(() => a.cast(B, module, fn, args)).toThrow(thrown);
      if (code === 'message_too_large') {
        // Each node has a limit of its own: what is too large for one is its own bad luck.
        expect(a.evalEverywhere([B], module, fn, args)).toEqual({ accepted: [], refused: [B] });
      } else {
        expect(() => a.evalEverywhere([B], module, fn, args)).toThrow(thrown);
        expect(() => a.abcast([B], 'name', args)).toThrow(thrown);
      }
    },
  );
});

describe('a call that is malformed', () => {
  const LONG = 'm'.repeat(256);
  const MALFORMED: Readonly<Record<string, (a: GenRpcNode) => unknown>> = {
    call: (a) => a.call(B, LONG, 'fn'),
    multicall: (a) => a.multicall([B], LONG, 'fn'),
    sbcast: (a) => a.sbcast([B], `${LONG}.fn`),
    asyncCall: (a) => a.asyncCall(B, LONG, 'fn'),
    cast: (a) => a.cast(B, LONG, 'fn'),
    evalEverywhere: (a) => a.evalEverywhere([B], LONG, 'fn'),
    abcast: (a) => a.abcast([B], `${LONG}.fn`),
  };

  it.each(Object.keys(MALFORMED))('fails as invalid_argument, before anything is sent: %s', async (verb) => {
    await using place = await realPair();
    const attempt = async (): Promise<unknown> => MALFORMED[verb]?.(place.a);
    const error = await failureOf(attempt());
    expect(isGenRpcError(error)).toBe(true);
    expect(error).toMatchObject({ code: 'invalid_argument', family: 'badrpc', maybeExecuted: false });
    expect(place.a.stats().counts.dialled).toBeUndefined();
  });

  it.each(['call', 'asyncCall', 'multicall', 'sbcast'])('so does a target that is no node: %s', async (verb) => {
    await using place = await realPair();
    const { a } = place;
    const target = 'no node';
    const INVALID = { code: 'invalid_argument', family: 'badrpc', maybeExecuted: false };
    if (verb === 'call') await expect(a.call(target, 'math', 'add')).rejects.toMatchObject(INVALID);
    if (verb === 'asyncCall') await expect(a.asyncCall(target, 'math', 'add').yield()).rejects.toMatchObject(INVALID);
    if (verb === 'sbcast') {
      await expect(a.sbcast([target, B], 'math.add', [1])).resolves.toEqual({ good: [B], bad: [target] });
    }
    if (verb !== 'multicall') return;
    const { outcomes } = await a.multicall([target, B], 'math', 'add', [1, 2]);
    expect(outcomes).toMatchObject([
      { node: target, ok: false, error: INVALID },
      { node: B, ok: true, value: 3 },
    ]);
  });
});

describe('did you mean', () => {
  it('names the function that is nearly called so', async () => {
    await using place = await realPair();
    const error = await failureOf(place.a.call(B, 'math', 'addd', [1, 2]));
    expect(error.message).toBe('There is no function math.addd here. Did you mean math.add?');
  });

  it('names the module that is nearly called so and has the function', async () => {
    await using place = await realPair();
    const error = await failureOf(place.a.call(B, 'maths', 'add', [1, 2]));
    expect(error.message).toContain('Did you mean math.add?');
    const other = await failureOf(place.a.call(B, 'maths', 'unheard', [1, 2]));
    expect(other.message).not.toContain('Did you mean');
  });

  it('is silent about what the caller may not call, and where nothing is near', async () => {
    await using place = await realPair();
    for (const [module, fn] of [
      ['closd', 'fn'],
      ['closed', 'f'],
      ['math', 'integrate'],
    ] as const) {
      const error = await failureOf(place.a.call(B, module, fn));
      expect(error.message).not.toContain('Did you mean');
      expect(error.message).not.toContain('closed.fn');
    }
  });
});
