/** A call, and everything that may become of it, as the suites of gen_rpc ask. */
import { describe, expect, it } from 'vitest';
import { until } from '../support/door.js';
import { failure, HIDDEN, pairOf, PLACES, SERVER, SLOT_MS } from './support.js';

describe.each(PLACES)('%s', (_name, place) => {
  it('call', async () => {
    await using pair = await pairOf(place);
    await expect(pair.caller.call(pair.target, 'math', 'add', [1, 2])).resolves.toBe(3);
    await expect(pair.caller.call(pair.target, 'health', 'ping')).resolves.toBe('pong');
    expect(pair.ran).toEqual(['add 1 2']);
    expect(pair.caller.stats().openConnections).toBe(place.local ? 0 : 1);
    expect(pair.counted()).toEqual({});
  });

  it('call_mfa_undef', async () => {
    await using pair = await pairOf(place);
    const undef = (named: string) => failure('undefined_function', 'badrpc', false, named);
    await expect(pair.caller.call(pair.target, 'math', 'ad')).rejects.toEqual(undef('math.ad'));
    await expect(pair.caller.call(pair.target, 'mth', 'add')).rejects.toEqual(undef('mth.add'));
    await expect(pair.caller.call(pair.target, 'math', 'add')).resolves.toBeNaN();
    expect(pair.counted()).toEqual({ call_refused: 2 });
    expect(pair.ran).toEqual(['add undefined undefined']);
  });

  it.each([
    ['call_mfa_exit', 'exit'],
    ['call_mfa_throw', 'throw'],
  ])('%s', async (_title, fn) => {
    await using pair = await pairOf(place);
    const reply = pair.caller.call(pair.target, 'proc', fn);
    const beside = pair.caller.call(pair.target, 'math', 'add', [1, 2]);
    const error = (await reply.catch((caught: unknown) => caught)) as Error;
    expect(error).toEqual(failure('handler_failed', 'badrpc', true, `proc.${fn}`));
    expect(JSON.stringify(Object.values({ ...error, message: error.message }))).not.toContain(HIDDEN);
    await expect(beside).resolves.toBe(3);
    expect(pair.ran).toEqual([fn, 'add 1 2']);
    expect(pair.counted()).toEqual({ handler_failed: 1 });
  });

  it('call_with_receive_timeout', async () => {
    await using pair = await pairOf(place);
    let settled = false;
    const reply = pair.caller.call(pair.target, 'proc', 'hang', [], { timeout: 500 }).finally(() => (settled = true));
    reply.catch(() => {});
    await until(() => pair.ran.length === 1);
    await pair.clock.advance(499);
    expect(settled).toBe(false);
    await pair.clock.advance(1 + SLOT_MS);
    await expect(reply).rejects.toEqual(failure('timeout', 'badrpc', true, 'proc.hang', SERVER, '500 ms'));
    await until(() => pair.ran.includes('killed'));
    await expect(pair.caller.call(pair.target, 'math', 'add', [1, 2])).resolves.toBe(3);
    expect(pair.ran).toEqual(['hang', 'killed', 'add 1 2']);
  });

  it('call_with_receive_timeout of the node, for a call that brings none', async () => {
    const options = { callTimeout: 500 };
    await using pair = await pairOf(place, { caller: options, server: options });
    const reply = pair.caller.call(pair.target, 'proc', 'hang');
    reply.catch(() => {});
    await until(() => pair.ran.length === 1);
    await pair.clock.advance(500 + SLOT_MS);
    await expect(reply).rejects.toEqual(failure('timeout', 'badrpc', true, 'proc.hang', '500 ms'));
  });

  it('call_with_worker_kill', async () => {
    await using pair = await pairOf(place);
    const kill = new AbortController();
    const reply = pair.caller.call(pair.target, 'proc', 'hang', [], { signal: kill.signal });
    const others = ['one', 'two'].map((name) => pair.caller.call(pair.target, 'proc', 'hold', [name]));
    await until(() => pair.ran.length === 3);
    kill.abort();
    await expect(reply).rejects.toEqual(failure('cancelled', 'badrpc', true, 'proc.hang'));
    await until(() => pair.ran.includes('killed'));
    pair.letGo('two');
    pair.letGo('one');
    await expect(Promise.all(others)).resolves.toEqual(['one', 'two']);
    await expect(pair.caller.call(pair.target, 'math', 'add', [1, 2])).resolves.toBe(3);
    // Its death is known where it died, and is no answer to anybody.
    expect(pair.counted()).toEqual({ handler_failed: 1 });
    expect(pair.ran).toEqual(['hang', 'hold one', 'hold two', 'killed', 'add 1 2']);
  });

  it('call_node', async () => {
    await using pair = await pairOf(place);
    await expect(pair.caller.call(pair.target, 'proc', 'node')).resolves.toEqual([SERVER, pair.caller.name]);
  });

  it('call_module_version_check_success', async () => {
    await using pair = await pairOf(place);
    for (const version of ['1.2.0', '2.0.0', 'blue']) {
      pair.server.register('shop', { version: () => version }, { version });
    }
    const versionBy = (version: string) => pair.caller.call(pair.target, { module: 'shop', version }, 'version');
    await expect(versionBy('1.2.0')).resolves.toBe('1.2.0');
    await expect(versionBy('2.0.0')).resolves.toBe('2.0.0');
    await expect(versionBy('blue')).resolves.toBe('blue');
    await expect(versionBy('^1.0.0')).resolves.toBe('1.2.0');
    await expect(versionBy('>=1 <3')).resolves.toBe('2.0.0');
    expect(pair.counted()).toEqual({});
  });

  it('call_module_version_check_incompatible', async () => {
    await using pair = await pairOf(place);
    pair.server.register('shop', { version: () => pair.ran.push('shop') }, { version: '1.2.0' });
    const wanted = [
      { module: 'shop', version: '1.2.1' },
      { module: 'shop', version: '1.2' },
      { module: 'shop', version: '^2.0.0' },
      // Has no version, and is not there at all.
      { module: 'math', version: '1.2.0' },
      { module: 'shed', version: '1.2.0' },
    ];
    for (const one of wanted) {
      const incompatible = failure('incompatible', 'badrpc', false, one.module, one.version);
      await expect(pair.caller.call(pair.target, one, 'version'), one.version).rejects.toEqual(incompatible);
    }
    expect(pair.ran).toEqual([]);
    expect(pair.counted()).toEqual({ call_refused: wanted.length });
  });

  it('call_module_version_check_invalid', async () => {
    await using pair = await pairOf(place);
    pair.server.register('shop', { version: () => pair.ran.push('shop') }, { version: '1.2.0' });
    const call = (version: unknown) =>
      pair.caller.call(pair.target, { module: 'shop', version: version as string }, 'version');
    for (const version of ['X.Y.Z', '>=one', '^', 'latest', '1.2.0 ', '🤷']) {
      await expect(call(version), version).rejects.toEqual(failure('incompatible', 'badrpc', false, 'shop', version));
    }
    // What can be no version at all is not even sent.
    for (const version of [120, null, {}, 'v'.repeat(65), '\ud800']) {
      const invalid = failure('invalid_argument', 'badrpc', false, 'version');
      await expect(call(version), String(version)).rejects.toEqual(invalid);
    }
    expect(pair.ran).toEqual([]);
    expect(pair.counted()).toEqual({ call_refused: 6 });
  });

  it('interleaved_call', async () => {
    await using pair = await pairOf(place);
    const ends: unknown[] = [];
    const calls = ['first', 'second', 'third'].map((name) =>
      pair.caller
        .call(pair.target, 'proc', 'hold', [name], { timeout: name === 'second' ? 500 : 5000 })
        .then((value) => ends.push(value))
        .catch((error: unknown) => ends.push(error)),
    );
    await until(() => pair.ran.length === 3);
    pair.letGo('third');
    await until(() => ends.length === 1);
    await pair.clock.advance(500 + SLOT_MS);
    pair.letGo('first');
    await Promise.all(calls);
    expect(ends).toEqual(['third', failure('timeout', 'badrpc', true, 'proc.hold', '500 ms'), 'first']);
    // The middle one answers when nobody waits any more.
    pair.letGo('second');
    await expect(pair.caller.call(pair.target, 'math', 'add', [1, 2])).resolves.toBe(3);
    expect(ends).toHaveLength(3);
    expect(pair.ran).toEqual(['hold first', 'hold second', 'hold third', 'add 1 2']);
    expect(pair.counted()).toEqual({});
  });
});
