/** How the methods of a class that answers look to those who call them from another node: types, and nothing else. */

/** Nest's contexts, of whatever transport: handed to a handler, and sent by nobody. */
interface HandlerContext {
  getArgs(): unknown;
  getArgByIndex(index: number): unknown;
}

interface ItemObserver<T> {
  readonly next: (value: T) => void;
  readonly error: (error: unknown) => void;
  readonly complete: () => void;
}

/** Where the items of a streaming argument may come from: an async iterable, or an Observable. */
export type ItemsToSend<T> =
  AsyncIterable<T> | { readonly subscribe: (observer: ItemObserver<T>) => { unsubscribe(): void } };

type Method = (...args: never[]) => unknown;
type Stream = AsyncIterable<unknown> | { subscribe(...observer: never[]): unknown };
type IsAny<T> = 0 extends 1 & T ? true : false;

/** The type of a stream's items. */
type Item<S> =
  S extends AsyncIterable<infer T>
    ? T
    : S extends { subscribe(next?: ((value: infer T) => void) | null, ...more: never[]): unknown }
      ? T
      : S extends { subscribe(observer: { next(value: infer T): void }): unknown }
        ? T
        : never;

type IsContext<T> =
  IsAny<T> extends true ? false : [NonNullable<T>] extends [never] ? false : IsA<NonNullable<T>, HandlerContext>;

type IsA<T, U> = [T] extends [U] ? true : false;

/** A parameter that is a stream may be given as any other kind of stream. */
type Sendable<T> = IsAny<T> extends true ? T : T extends Stream ? ItemsToSend<Item<T>> : T;

/** The first of a list, as a list of its own: so it keeps its name. */
type First<A extends readonly unknown[]> =
  Required<A> extends readonly [unknown, ...infer Rest]
    ? Required<A> extends readonly [...infer Head, ...Rest]
      ? A extends readonly [unknown, ...unknown[]]
        ? Head
        : Partial<Head>
      : never
    : never;

type WithoutContexts<A extends readonly unknown[], Kept extends readonly unknown[] = []> = A extends readonly []
  ? Kept
  : number extends A['length']
    ? [...Kept, ...A]
    : A extends readonly [unknown?, ...infer Rest]
      ? WithoutContexts<Rest, IsContext<A[0]> extends true ? Kept : [...Kept, ...First<A>]>
      : never;

type AllSendable<A extends readonly unknown[]> = { [I in keyof A]: Sendable<A[I]> };

/** What a caller sends: a handler's parameters, without the context. */
export type SentArguments<F> =
  NonNullable<F> extends (...args: infer A) => unknown ? AllSendable<WithoutContexts<A>> : never;

type ResultOf<F> = NonNullable<F> extends (...args: never[]) => infer R ? Awaited<R> : never;

/** What a call brings: of what may be a stream, the last item. */
type Reply<R> = IsAny<R> extends true ? R : R extends Stream ? Item<R> | undefined : R;

type Streams<F> =
  IsAny<ResultOf<F>> extends true
    ? 'perhaps'
    : [ResultOf<F>] extends [never]
      ? 'no'
      : [ResultOf<F>] extends [Stream]
        ? 'yes'
        : 'no';

/** Names that no object of remote methods has as such: see `methodsBy`. */
type NeverRemote =
  | ('then' | 'toJSON' | 'onModuleInit' | 'onApplicationBootstrap' | 'onModuleDestroy')
  | ('beforeApplicationShutdown' | 'onApplicationShutdown' | '__proto__')
  | ('__defineGetter__' | '__defineSetter__' | '__lookupGetter__' | '__lookupSetter__')
  | keyof typeof Object.prototype;

/** Does it take a stream? */
type Reads<F> =
  NonNullable<F> extends (...args: infer A) => unknown
    ? Extract<A[number], Stream> extends never
      ? false
      : true
    : never;

type MethodNames<T> = { [K in keyof T]-?: NonNullable<T[K]> extends Method ? K : never }[keyof T & string];
type RemoteNames<T> = Exclude<MethodNames<T>, NeverRemote>;
type NamesWhere<T, S> = { [K in RemoteNames<T>]: Streams<T[K]> extends S ? K : never }[RemoteNames<T>];
type NamesToCast<T> = { [K in RemoteNames<T>]: Reads<T[K]> extends true ? never : K }[RemoteNames<T>];

/** Methods that reply once, each with the promise of its result. */
export type ModuleCalls<T, K extends keyof T = NamesWhere<T, 'no' | 'perhaps'>> = {
  readonly [P in K]-?: (...args: SentArguments<T[P]>) => Promise<Reply<ResultOf<T[P]>>>;
};

/** Methods whose reply is a stream. Each iteration is a call of its own. */
export type ModuleStreams<T, K extends keyof T = NamesWhere<T, 'yes' | 'perhaps'>> = {
  readonly [P in K]-?: (...args: SentArguments<T[P]>) => AsyncIterable<Item<ResultOf<T[P]>>>;
};

/** Methods to call without a reply, all but those that take a stream: was the call accepted? */
export type ModuleCasts<T, K extends keyof T = NamesToCast<T>> = {
  readonly [P in K]-?: (...args: SentArguments<T[P]>) => boolean;
};
