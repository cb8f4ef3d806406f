/** Objects whose methods are made as they are asked for: what a remote module has is known to its type alone. */

type Method = (...args: unknown[]) => unknown;

const MAKE = Symbol('make');

interface Methods {
  readonly [MAKE]: (name: string) => Method;
}

/**
 * Names that others ask any object for. A method of these would make a promise of whoever is awaited, and have an
 * application that starts or stops call another node.
 */
const NEVER_REMOTE = new Set([
  ...['then', 'toJSON', 'onModuleInit', 'onApplicationBootstrap', 'onModuleDestroy'],
  ...['beforeApplicationShutdown', 'onApplicationShutdown'],
]);

/** Asked only for what an object does not have yet: a method is made once, and then found without a proxy. */
const unmade = new Proxy(Object.freeze({}), {
  get(nothing, name, methods: Methods) {
    if (typeof name === 'symbol' || name in nothing || NEVER_REMOTE.has(name))
      return Reflect.get(nothing, name, methods);
    const value = methods[MAKE](name);
    // Whoever has frozen it has a method made each time.
    Reflect.defineProperty(methods, name, { value });
    return value;
  },
});

/** An object that has a method of every name, but for symbols, those above and those that every object has. */
export function methodsBy(make: (name: string) => Method): object {
  return Object.create(unmade, { [MAKE]: { value: make } }) as object;
}
