/** What a user's test sees of a cluster in memory. Nothing here needs Nest to be loaded. */
import type { GenRpcNode } from '../node/gen-rpc-node.js';
import type {
  NestApplication,
  NestHybridOptions,
  NestMicroservice,
  NestModule,
  NestModuleBuilder,
} from './nest-types.js';
import type { VirtualClock } from './virtual-clock.js';

/**
 * An application: its module as it is, or a `Test.createTestingModule(…)` in which providers are overridden. One that is
 * to be started again after `stop` must be a function that makes the latter.
 */
export type TestModule = NestModule | NestModuleBuilder | (() => NestModuleBuilder);

/** An application, and how it is set up; what `main.ts` does for a real one. */
export interface TestNode {
  readonly app: TestModule;
  /** Serve HTTP as well (`getHttpServer()`, no port). Options are those of `connectMicroservice`. Default false. */
  readonly http?: boolean | NestHybridOptions;
  /** Before it is initialised: global pipes, filters, guards; a promise is waited for. It is the former with `http`, the latter without. */
  readonly configure?: (app: NestApplication & NestMicroservice) => unknown;
}

/** By key: `a` becomes the node `a@test`; one with an `@` is the whole name. They start in this order. */
export type TestNodes = Readonly<Record<string, TestModule | TestNode>>;

/** Any keys, and each may serve HTTP or not. */
type AnyNodes = Readonly<Record<string, TestModule | TestNode | (TestNode & { readonly http: true })>>;

export interface TestClusterOptions<Nodes extends TestNodes> {
  readonly nodes: Nodes;
  /** `virtual`: the time of all nodes passes when the test says so, by `cluster.clock`. Default `system`. */
  readonly clock?: 'system' | 'virtual';
  /** What the nodes take for chance: the same seed, the same course. Default 1. */
  readonly seed?: number;
}

/** An application that serves HTTP, or one that does not. */
export type TestAppOf<Node> = Node extends { readonly http: true | object } ? NestApplication : NestMicroservice;

/**
 * What `createTestCluster` resolves with. Declared for a `beforeEach` to fill, `TestCluster` takes any key;
 * `TestCluster<typeof nodes>` only those that there are.
 */
export interface TestCluster<Nodes extends TestNodes = AnyNodes> extends AsyncDisposable {
  /** @throws Error unless the cluster was made with `clock: 'virtual'`. */
  readonly clock: VirtualClock;
  /** @throws Error while it is stopped. */
  app<Key extends keyof Nodes & string>(key: Key): TestAppOf<Nodes[Key]>;
  /** @throws Error while it is stopped. */
  node(key: keyof Nodes & string): GenRpcNode;
  /** A provider of an application, in whatever module it is. @throws Error while it is stopped. */
  get<T>(key: keyof Nodes & string, token: (abstract new (...args: never[]) => T) | string | symbol): T;
  /** Every delivery between the two takes `ms` from now on, both ways; 0: no longer. */
  delay(one: keyof Nodes & string, other: keyof Nodes & string, ms: number): void;
  /** Their connections break; the next call connects again. */
  cut(one: keyof Nodes & string, other: keyof Nodes & string): void;
  /**
   * Nodes of different groups no longer reach each other, and nobody tells them: what they send waits. Nodes in no group
   * reach all. A further partition takes the place of this one.
   */
  partition(...groups: (readonly (keyof Nodes & string)[])[]): void;
  /** Ends the partition: what waited arrives. */
  heal(): void;
  /** As a process that crashes: its connections end at once, and nobody listens any more. Its resources are let go then. */
  stop(key: keyof Nodes & string): Promise<void>;
  /** As a process that is told to end: what runs may finish. */
  drain(key: keyof Nodes & string): Promise<void>;
  /** Starts what was stopped, as a new process of that name. */
  start(key: keyof Nodes & string): Promise<void>;
  /** Ends everything, at once: calls that are pending fail. Safe to repeat. */
  close(): Promise<void>;
}
