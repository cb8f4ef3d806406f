import { describe, expect, it } from 'vitest';
import { ModulePolicy } from '../../lib/server/module-policy.js';
import { twoNodes } from '../support/cluster.js';
import { until } from '../support/door.js';

const B = 'b@127.0.0.1';

describe('a module policy', () => {
  it('takes no other word, which would let through what is not listed', () => {
    const policy = new ModulePolicy('whitelist', ['math']);
    expect(() => policy.change('whitelst' as never, ['math'])).toThrow(
      expect.objectContaining({ code: 'invalid_argument' }),
    );
    expect([policy.allows('math'), policy.allows('other')]).toEqual([true, false]);
  });

  it('disabled allows everything, whatever the list says', () => {
    const policy = new ModulePolicy('disabled', ['math']);
    for (const module of ['math', 'other', '', '*']) expect(policy.allows(module)).toBe(true);
  });

  it.each([
    [['math'], ['math'], ['Math', 'math ', 'maths', 'mat', '', 'math.add']],
    [['math.*'], ['math.', 'math.add', 'math.a.b', 'math.*'], ['math', 'maths', 'Math.add', 'x.math.add']],
    [['math*'], ['math', 'maths', 'math.add'], ['mat', 'amath']],
    [['*'], ['math', '', '*', 'a.b'], []],
    [[''], [''], ['math', ' ']],
    [['a*b'], ['a*b'], ['ab', 'axb', 'a*bc']],
    [['a**'], ['a*', 'a*b', 'a**'], ['a', 'ab']],
    [
      ['a', 'b.*', ''],
      ['a', 'b.c', ''],
      ['b', 'c'],
    ],
    [['caf\u00e9'], ['caf\u00e9'], ['cafe\u0301', 'cafe']],
    [['^m.*$'], ['^m.*$'], ['math', 'm']],
    [[], [], ['math', '']],
  ])('of %j lists %j, and not %j', (modules, listed, others) => {
    const whitelist = new ModulePolicy('whitelist', modules);
    const blacklist = new ModulePolicy('blacklist', modules);
    for (const module of listed) expect([whitelist.allows(module), blacklist.allows(module)]).toEqual([true, false]);
    for (const module of others) expect([whitelist.allows(module), blacklist.allows(module)]).toEqual([false, true]);
  });

  it('is changed as a whole, and keeps no hold of the list it was given', () => {
    const modules = ['math', 'text.*'];
    const policy = new ModulePolicy('whitelist', modules);
    modules.push('late');
    expect(policy.allows('late')).toBe(false);
    policy.change('blacklist', ['late']);
    expect(['math', 'text.case', 'late'].map((module) => policy.allows(module))).toEqual([true, true, false]);
    policy.change('disabled', []);
    expect(policy.allows('late')).toBe(true);
  });
});

describe('setModulePolicy', () => {
  it('counts from the next call on: for connected nodes, for oneself, for casts and messages', async () => {
    await using nodes = await twoNodes();
    const { a, b } = nodes;
    await a.call(B, 'math', 'add', [1, 2]);
    b.setModulePolicy('whitelist', ['text.*']);
    for (const caller of [a, b]) {
      await expect(caller.call(B, 'math', 'add', [1, 2])).rejects.toMatchObject({
        code: 'unauthorized',
        maybeExecuted: false,
        message: 'math.add is not callable here.',
      });
      expect(caller.cast(B, 'math', 'add', [1, 2])).toBe(true);
      await expect(caller.sbcast([B], 'math.add', [1, 2])).resolves.toEqual({ good: [], bad: [B] });
    }
    await until(() => b.stats().counts.call_refused === 6);
    expect(nodes.ran).toEqual(['add']);
    b.setModulePolicy('blacklist');
    await expect(a.call(B, 'math', 'add', [3, 4])).resolves.toBe(7);
    b.setModulePolicy('disabled', ['math']);
    await expect(a.call(B, 'math', 'add', [5, 6])).resolves.toBe(11);
    expect(a.stats().counts).toEqual({ dialled: 1, connected: 1 });
  });

  it('lets those that run be', async () => {
    await using nodes = await twoNodes();
    let open: (value: unknown) => void = () => {};
    nodes.b.register('gate', { pass: () => new Promise((resolve) => (open = resolve)) });
    const running = nodes.a.call(B, 'gate', 'pass');
    await until(() => nodes.b.stats().runningCalls === 1);
    nodes.b.setModulePolicy('blacklist', ['gate']);
    open('done');
    await expect(running).resolves.toBe('done');
    await expect(nodes.a.call(B, 'gate', 'pass')).rejects.toMatchObject({ code: 'unauthorized' });
  });

  it('holds for a version that was found before', async () => {
    await using nodes = await twoNodes();
    nodes.b.register('versioned', { fn: () => 'ran' }, { version: '1.0.0' });
    const call = (): Promise<unknown> => nodes.a.call(B, { module: 'versioned', version: '^1.0.0' }, 'fn');
    await expect(call()).resolves.toBe('ran');
    nodes.b.setModulePolicy('blacklist', ['versioned']);
    await expect(call()).rejects.toMatchObject({ code: 'unauthorized' });
  });
});
