import { describe, expect, it } from 'vitest';
import { GenRpcError, type GenRpcErrorCode } from '../../lib/protocol/errors.js';
import type { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import type { CallContext } from '../../lib/server/module-registry.js';
import { Cluster, twoNodes } from '../support/cluster.js';
import { B, failureOf, gated, withFailures } from './local-support.js';

describe('a call of a node to itself', () => {
  it('takes no connection, and needs no listener', async () => {
    await using cluster = new Cluster();
    const node = cluster.create('a', { listen: false });
    node.register('math', { add: ([x, y]: [number, number]) => x + y });
    await expect(node.call(node.name, 'math', 'add', [1, 2])).resolves.toBe(3);
    await expect(node.call({ node: node.name, key: 7 }, 'math', 'add', [1, 2])).resolves.toBe(3);
    expect(node.nodes()).toEqual([]);
    expect(node.isConnected(node.name)).toBe(true);
    expect(node.stats()).toMatchObject({ openConnections: 0, counts: {} });
  });

  it('has a context that says so', async () => {
    await using nodes = await twoNodes();
    nodes.b.register('who', {
      am: (_: unknown, context: CallContext) => ({
        ...context.caller,
        headers: Object.fromEntries(context.headers ?? []),
        single: context.single,
        fn: context.name.fn,
        timed: context.remainingMs() > 0 && context.remainingMs() <= 15_000,
      }),
    });
    await expect(nodes.b.call(B, 'who', 'am', [], { headers: { a: 'b' } })).resolves.toEqual({
      ...{ node: B, address: 'local', headers: { a: 'b' }, single: false, fn: 'am', timed: true },
    });
  });

  it('shares no value with the function: what either changes afterwards, the other does not see', async () => {
    await using nodes = await twoNodes();
    const kept: unknown[] = [];
    nodes.b.register('keeper', {
      keep: ([value]: [{ list: number[] }]) => {
        kept.push(value);
        value.list.push(2);
        return value;
      },
    });
    const given = { list: [1] };
    const got = await nodes.b.call<typeof given>(B, 'keeper', 'keep', [given]);
    expect(given).toEqual({ list: [1] });
    expect(got).toEqual({ list: [1, 2] });
    got.list.push(3);
    expect(kept).toEqual([{ list: [1, 2] }]);
  });

  it('is held to the largest message, both ways', async () => {
    await using nodes = await twoNodes({ options: { maxMessageBytes: 1024 } });
    nodes.b.register('large', { of: ([bytes]: [number]) => Buffer.alloc(bytes) });
    const sent = await failureOf(nodes.b.call(B, 'math', 'echo', ['x'.repeat(2000)]));
    expect(sent).toMatchObject({ code: 'message_too_large', maybeExecuted: false });
    const received = await failureOf(nodes.b.call(B, 'large', 'of', [2000]));
    expect(received).toMatchObject({ code: 'message_too_large', maybeExecuted: true });
    await expect(nodes.b.call(B, 'large', 'of', [1000])).resolves.toHaveLength(1000);
    expect(() => nodes.b.cast(B, 'math', 'echo', ['x'.repeat(2000)])).toThrow('1024 are allowed');
  });

  it('ends at its deadline, and the function is told', async () => {
    await using nodes = await twoNodes({ virtual: { seed: 1 } });
    const { contexts, open } = gated(nodes.b);
    const failure = failureOf(nodes.b.call(B, 'gate', 'pass', [], { timeout: 500 }));
    await nodes.clock?.advance(600);
    await expect(failure).resolves.toMatchObject({ code: 'timeout', maybeExecuted: true });
    expect(contexts[0]?.signal.aborted).toBe(true);
    expect(contexts[0]?.remainingMs()).toBe(0);
    open(1);
  });

  it('is cancelled by its caller, and the function is told', async () => {
    await using nodes = await twoNodes();
    const { contexts, open } = gated(nodes.b);
    const controller = new AbortController();
    const failure = failureOf(nodes.b.call(B, 'gate', 'pass', [], { signal: controller.signal }));
    controller.abort();
    await expect(failure).resolves.toMatchObject({ code: 'cancelled', maybeExecuted: true });
    expect(contexts[0]?.signal.aborted).toBe(true);
    open(1);
  });

  it('is cancelled by a caller that the function itself made give up, before it returned', async () => {
    await using nodes = await twoNodes();
    const controller = new AbortController();
    const signals: AbortSignal[] = [];
    const giveUp = (_: unknown, { signal }: CallContext): Promise<never> => {
      signals.push(signal);
      controller.abort();
      return new Promise(() => {});
    };
    nodes.b.register('caller', { giveUp });
    const failure = failureOf(nodes.b.call(B, 'caller', 'giveUp', [], { signal: controller.signal }));
    await expect(failure).resolves.toMatchObject({ code: 'cancelled', maybeExecuted: true });
    expect(signals.map(({ aborted }) => aborted)).toEqual([true]);
  });
});

/** What keeps a call from running, or fails it, wherever it comes from. */
const FAILURES: readonly {
  readonly code: GenRpcErrorCode;
  readonly what: string;
  readonly call: (from: GenRpcNode) => Promise<unknown>;
}[] = [
  { code: 'unauthorized', what: 'a closed module', call: (from) => from.call(B, 'closed', 'fn') },
  {
    code: 'incompatible',
    what: 'another version',
    call: (from) => from.call(B, { module: 'versioned', version: '2.0.0' }, 'fn'),
  },
  {
    code: 'incompatible',
    what: 'a range without a version in it',
    call: (from) => from.call(B, { module: 'versioned', version: '^3.0.0' }, 'fn'),
  },
  {
    code: 'incompatible',
    what: 'a version of an unknown module',
    call: (from) => from.call(B, { module: 'unheard', version: '1' }, 'fn'),
  },
  { code: 'undefined_function', what: 'a misspelt function', call: (from) => from.call(B, 'math', 'ad', [1, 2]) },
  { code: 'undefined_function', what: 'an unknown module', call: (from) => from.call(B, 'nothing', 'like-it') },
  { code: 'handler_failed', what: 'a function that throws', call: (from) => from.call(B, 'math', 'fail') },
  { code: 'handler_failed', what: 'a failure with details', call: (from) => from.call(B, 'wrong', 'meant') },
  { code: 'handler_failed', what: 'an error of ours that it met', call: (from) => from.call(B, 'wrong', 'met') },
  { code: 'handler_failed', what: 'a stream that fails', call: (from) => from.call(B, 'wrong', 'stream') },
  { code: 'encode_error', what: 'a result that cannot travel', call: (from) => from.call(B, 'wrong', 'unsendable') },
  {
    code: 'encode_error',
    what: 'arguments that cannot travel',
    call: (from) => from.call(B, 'math', 'add', [() => 1]),
  },
  { code: 'timeout', what: 'no answer', call: (from) => from.call(B, 'math', 'never', [], { timeout: 50 }) },
  {
    code: 'cancelled',
    what: 'a signal that is aborted already',
    call: (from) => from.call(B, 'math', 'add', [1, 2], { signal: AbortSignal.abort() }),
  },
  {
    code: 'invalid_argument',
    what: 'no list of arguments',
    call: (from) => from.call(B, 'math', 'add', { 0: 1 } as unknown as unknown[]),
  },
  { code: 'invalid_argument', what: '256 arguments', call: (from) => from.call(B, 'math', 'add', Array(256).fill(0)) },
  { code: 'invalid_argument', what: 'a name too long', call: (from) => from.call(B, 'm'.repeat(256), 'add') },
  { code: 'invalid_argument', what: 'no timeout', call: (from) => from.call(B, 'math', 'add', [], { timeout: 0 }) },
  {
    code: 'protocol_error',
    what: 'arguments that are no list',
    call: (from) =>
      new Promise((done, failed) => {
        const name = from.functionName('math', 'add');
        const invocation = { name, args: 'none', single: false, headers: undefined };
        from.request({ node: B }, invocation, {}, { item: () => {}, done, failed });
      }),
  },
];

describe('a call of a node to itself that fails', () => {
  it.each(FAILURES)('has the same error as one from elsewhere: $code for $what', async ({ code, call }) => {
    await using nodes = await withFailures();
    const [remote, local] = [await failureOf(call(nodes.a)), await failureOf(call(nodes.b))];
    const shapeOf = ({ name, message, family, maybeExecuted, details }: GenRpcError): object => {
      return { name, message, family, maybeExecuted, details };
    };
    expect(local.code).toBe(code);
    expect(remote.code).toBe(code);
    expect(shapeOf(local)).toEqual(shapeOf(remote));
    expect(local).toBeInstanceOf(GenRpcError);
    expect(nodes.ran).not.toContain('ran');
  });

  it.each(FAILURES)('counts and logs as one from elsewhere: $code for $what', async ({ call }) => {
    const seen = await Promise.all(
      (['a', 'b'] as const).map(async (from) => {
        await using nodes = await withFailures();
        await failureOf(call(nodes[from]));
        const { counts } = nodes.b.stats();
        const lines = nodes.log.lines.map((line) => line.replaceAll(/\b[ab]@/g, '@'));
        return { refused: counts.call_refused, failed: counts.handler_failed, lines };
      }),
    );
    expect(seen[1]).toEqual(seen[0]);
  });
});
