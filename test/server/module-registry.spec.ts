import { describe, expect, it } from 'vitest';
import { GenRpcError, type GenRpcErrorCode } from '../../lib/protocol/errors.js';
import { FunctionNames } from '../../lib/protocol/invocation.js';
import { ModulePolicy, type ModuleControl } from '../../lib/server/module-policy.js';
import { ModuleRegistry, type CallContext, type Callable } from '../../lib/server/module-registry.js';

const CONTEXT = {} as CallContext;

/** A registry of `module@version fn` entries, each of which answers with its own text. */
function registryOf(entries: readonly string[], control: ModuleControl = 'disabled', list: readonly string[] = []) {
  const names = new FunctionNames();
  const registry = new ModuleRegistry(new ModulePolicy(control, list));
  const nameOf = (entry: string) => {
    const [route = '', fn = ''] = entry.split(' ');
    const [module = '', version = ''] = route.split('@');
    return names.resolve(module, fn, version.replaceAll('_', ' '));
  };
  const add = (entry: string, callable: Callable = { run: () => entry }): void => {
    registry.register(nameOf(entry), callable);
  };
  for (const entry of entries) add(entry);
  /** What answers, or the code and message of why nothing does. */
  const resolve = (entry: string): unknown => {
    const found = registry.resolve(nameOf(entry));
    return found instanceof GenRpcError ? `${found.code}: ${found.message}` : found.run([], CONTEXT);
  };
  const codeOf = (entry: string): GenRpcErrorCode | undefined => {
    const found = registry.resolve(nameOf(entry));
    return found instanceof GenRpcError ? found.code : undefined;
  };
  const has = (entry: string): boolean => registry.has(nameOf(entry));
  return { add, resolve, codeOf, has };
}

describe('a registry', () => {
  it('has what it finds, and nothing else', () => {
    const entries = ['math add', 'math@1.2.0 sub', 'math@2.0.0 mul', 'other add'];
    const { has, codeOf } = registryOf(entries, 'blacklist', ['other']);
    const asked = [
      ...entries,
      'math sub',
      'math@^1.0.0 sub',
      'math@^1.0.0 mul',
      'math@^3.0.0 sub',
      'math div',
      'no add',
    ];
    // Twice: what was found for a range is remembered.
    for (const entry of [...asked, ...asked]) expect([entry, has(entry)]).toEqual([entry, codeOf(entry) === undefined]);
    expect(asked.filter(has)).toEqual([...entries.slice(0, 3), 'math sub', 'math@^1.0.0 sub']);
  });

  it('finds functions by their whole names', () => {
    const { resolve, codeOf } = registryOf(['math add', 'math Add', ' add', 'math.add add']);
    for (const entry of ['math add', 'math Add', ' add', 'math.add add']) expect(resolve(entry)).toBe(entry);
    for (const entry of ['math ADD', 'Math add', 'math. add', 'math a'])
      expect(codeOf(entry)).toBe('undefined_function');
  });

  it.each(['constructor', '__proto__', 'toString', 'hasOwnProperty', 'valueOf'])(
    'knows no %s that nobody registered',
    (name) => {
      const { codeOf, add, resolve } = registryOf(['math add']);
      expect(codeOf(`math ${name}`)).toBe('undefined_function');
      expect(codeOf(`${name} add`)).toBe('undefined_function');
      expect(codeOf(`${name}@1.0.0 add`)).toBe('incompatible');
      add(`${name} ${name}`);
      expect(resolve(`${name} ${name}`)).toBe(`${name} ${name}`);
    },
  );

  it('lets the last one of a name and version win', () => {
    const { add, resolve } = registryOf(['math add', 'math@1.0.0 add']);
    expect(resolve('math@1.0.0 add')).toBe('math@1.0.0 add');
    add('math@1.0.0 add', { run: () => 'again' });
    expect([resolve('math@1.0.0 add'), resolve('math@^1.0.0 add'), resolve('math add')]).toEqual(
      Array(3).fill('again'),
    );
  });
});

describe('versions side by side', () => {
  const SHOP = ['shop@1.0.0 buy', 'shop@1.10.0 buy', 'shop@1.9.0 buy', 'shop@2.0.0-rc.1 buy', 'shop buy'];

  it.each([
    ['shop@1.9.0 buy', 'shop@1.9.0 buy'],
    ['shop@^1.0.0 buy', 'shop@1.10.0 buy'],
    ['shop@~1.9.0 buy', 'shop@1.9.0 buy'],
    ['shop@<1.10_>=1 buy', 'shop@1.9.0 buy'],
    ['shop@* buy', 'shop@1.10.0 buy'],
    ['shop@2.0.0-rc.1 buy', 'shop@2.0.0-rc.1 buy'],
    ['shop@>=2.0.0-rc.0 buy', 'shop@2.0.0-rc.1 buy'],
  ])('the newest that is wanted answers: %s', (asked, answers) => {
    for (const order of [SHOP, SHOP.toReversed()]) expect(registryOf(order).resolve(asked)).toBe(answers);
  });

  it.each(['shop@3.0.0 buy', 'shop@^3.0.0 buy', 'shop@1.0 buy', 'shop@1 buy', 'shop@blue buy', 'shop@2.0.0 buy'])(
    'none that will do is incompatible, and those that there are are named: %s',
    (asked) => {
      const { resolve } = registryOf(['shop@1.0.0 buy', 'shop@1.2.0 buy']);
      const version = /@(\S+)/.exec(asked)?.[1];
      const known = 'but 1.0.0, 1.2.0.';
      expect(resolve(asked)).toBe(`incompatible: There is no version ${version} of shop here, ${known}`);
    },
  );

  it('of an unknown module are incompatible too', () => {
    const { resolve } = registryOf(['shop buy']);
    expect(resolve('shop@1.0.0 buy')).toContain('incompatible');
    expect(resolve('shop@1.0.0 buy')).toContain('one without a version');
    expect(resolve('unheard@1.0.0 buy')).toContain('no version of it');
  });

  it('a call without one takes a pre-release only where there is nothing else', () => {
    expect(registryOf(['shop@2.0.0-rc.1 buy', 'shop@1.0.0 buy']).resolve('shop buy')).toBe('shop@1.0.0 buy');
    expect(registryOf(['shop@2.0.0-rc.1 buy', 'shop@1.0.0 sell']).resolve('shop buy')).toBe('shop@2.0.0-rc.1 buy');
  });

  it('a call without one takes the newest that has the function', () => {
    const { resolve } = registryOf(['shop@1.0.0 sell', 'shop@1.0.0 buy', 'shop@2.0.0 buy']);
    expect(resolve('shop buy')).toBe('shop@2.0.0 buy');
    expect(resolve('shop sell')).toBe('shop@1.0.0 sell');
  });

  it('a range takes the newest of its own that has the function; without any, that is undefined', () => {
    const { resolve, codeOf } = registryOf(['shop@1.0.0 sell', 'shop@1.1.0 buy', 'shop@2.0.0 rent']);
    expect(resolve('shop@^1.0.0 sell')).toBe('shop@1.0.0 sell');
    expect(codeOf('shop@^1.0.0 rent')).toBe('undefined_function');
    expect(codeOf('shop@2.0.0 sell')).toBe('undefined_function');
  });

  it('a range that was asked before finds what is registered later', () => {
    const { add, resolve, codeOf } = registryOf(['shop@1.0.0 buy']);
    expect(resolve('shop@^1.0.0 buy')).toBe('shop@1.0.0 buy');
    expect(codeOf('shop@^2.0.0 buy')).toBe('incompatible');
    add('shop@1.5.0 buy');
    add('shop@2.1.0 buy');
    expect(resolve('shop@^1.0.0 buy')).toBe('shop@1.5.0 buy');
    expect(resolve('shop@^2.0.0 buy')).toBe('shop@2.1.0 buy');
  });
});

it.each([
  ['math add', 'undefined_function: There is no function math.add here. No function at all is registered here'],
  ['math@1.x add', 'incompatible: There is no version 1.x of math here, but no version of it. No function at all'],
])('a registry with nothing in it says so, and what registers functions: %s', (asked, said) => {
  const { add, resolve } = registryOf([]);
  expect(resolve(asked)).toContain(said);
  expect(resolve(asked)).toContain('connectGenRpc(app) and app.startAllMicroservices()');
  add('other fn');
  expect(resolve(asked)).not.toContain('No function at all');
});

describe('did you mean', () => {
  const HINT = /Did you mean (\S+)\?/;

  function hintFor(entry: string, entries: readonly string[], control?: ModuleControl, list?: readonly string[]) {
    return HINT.exec(String(registryOf(entries, control, list).resolve(entry)))?.[1];
  }

  it.each([
    ['math ad', undefined],
    ['math addd', 'math.add'],
    ['math subtrct', 'math.subtract'],
    ['math sutbract', 'math.subtract'],
    ['math SUBTRACT', 'math.subtract'],
    ['math sub_tract', 'math.subtract'],
    ['math integrate', undefined],
    ['maths add', 'math.add'],
    ['maths integrate', undefined],
    ['mth ad', undefined],
  ])('asked for %s: %s', (asked, meant) => {
    expect(hintFor(asked, ['math add', 'math subtract'])).toBe(meant);
  });

  it('knows functions without a module', () => {
    expect(hintFor(' statsu', [' status'])).toBe('status');
  });

  it('knows those of all versions where none is asked for, and of those that will do where one is', () => {
    const entries = ['shop@1.0.0 purchase', 'shop@2.0.0 rent'];
    expect(hintFor('shop purchas', entries)).toBe('shop.purchase');
    expect(hintFor('shop@1.x purchas', entries)).toBe('shop.purchase');
    expect(hintFor('shop@2.x purchas', entries)).toBeUndefined();
  });

  it.each([
    ['whitelist', ['math']],
    ['blacklist', ['secret*']],
  ] as const)('names nothing that the caller may not call: %s', (control, list) => {
    const entries = ['secrets launch', 'math add'];
    const said = (entry: string): string => String(registryOf(entries, control, list).resolve(entry));
    expect(said('secrets lanch')).toBe('unauthorized: secrets.lanch is not callable here.');
    expect(said('secrets@9.0.0 launch')).toBe('unauthorized: secrets.launch is not callable here.');
    expect(said('math lanch')).not.toContain('secrets');
    expect(said(control === 'whitelist' ? 'math launch' : 'ecrets launch')).not.toContain('secrets.');
  });

  it('repeats no more of a long name than is of use', () => {
    const { resolve } = registryOf(['math add']);
    expect(String(resolve(`math ${'x'.repeat(1024)}`)).length).toBeLessThan(400);
    expect(String(resolve(`math@${'9'.repeat(64)} add`)).length).toBeLessThan(400);
  });

  it('looks at a few hundred names: a wrong one must not cost much', () => {
    const others = (count: number): string[] => Array.from({ length: count }, (_, n) => `math z${n}`);
    expect(hintFor('math subtrct', [...others(200), 'math subtract'])).toBe('math.subtract');
    expect(hintFor('math subtrct', [...others(256), 'math subtract'])).toBeUndefined();
  });

  it.each([
    [['2.0.0', 'blue', '1.0.0']],
    [['2.0.0', '', '1.0.0', '3.0.0-rc.1']],
    [['', '2.0.0', 'blue', '1.5.0', '1.0.0']],
  ])('finds the newest of a range, whatever stands between: registered %j', (versions) => {
    const { resolve } = registryOf(versions.map((version) => `math@${version} add`));
    expect(resolve('math@>=1.0.0 add')).toBe('math@2.0.0 add');
    expect(resolve('math@1.x add')).toMatch(/^math@1/);
  });
});
