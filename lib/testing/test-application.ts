/** One application of a test cluster, and its node: how it starts, crashes and ends, again and again. */
import type { INestApplicationContext } from '@nestjs/common';
import type { MicroserviceOptions } from '@nestjs/microservices';
import type { TestingModule } from '@nestjs/testing';
import { GenRpcServer } from '../nest/gen-rpc.server.js';
import { GEN_RPC_OPTIONS } from '../nest/gen-rpc.tokens.js';
import { GenRpcNode } from '../node/gen-rpc-node.js';
import type { GenRpcOptions } from '../node/options.js';
import type { ClientOwners } from './client-owners.js';
import type { NestApplication, NestMicroservice } from './nest-types.js';
import type { TestModule, TestNode } from './test-cluster.js';
import { testNodeOf, TestModuleSource } from './test-module.js';
import type { TestWorld } from './test-world.js';

interface Running {
  readonly app: NestApplication | NestMicroservice;
  readonly node: GenRpcNode;
}

export class TestApplication {
  private readonly given: TestNode;
  private readonly source: TestModuleSource;
  /** Its node, and those of its clients. */
  private readonly nodes: GenRpcNode[] = [];
  private context: INestApplicationContext | undefined;
  private running: Running | undefined;
  private starting = false;

  /** @param name of its node */
  constructor(
    readonly key: string,
    readonly name: string,
    given: TestModule | TestNode,
    private readonly world: TestWorld,
    private readonly owners: ClientOwners,
  ) {
    this.given = testNodeOf(given);
    this.source = new TestModuleSource(key, this.given.app);
  }

  /** @throws Error while it is stopped. */
  get current(): Running {
    if (this.running === undefined) throw new Error(`${this.key} is stopped.`);
    return this.running;
  }

  async start(): Promise<void> {
    if (this.running !== undefined || this.starting) throw new Error(`${this.key} runs already.`);
    this.starting = true;
    try {
      const module = await this.compile();
      this.context = module;
      const node = this.nodes[0] ?? this.makeNode();
      await this.owners.take(this, module, (options) => this.makeClientNode(options));
      const app = await this.listen(module, serverOf(module) ?? new GenRpcServer(node));
      // Nest makes those of `@Client` when an application is initialised.
      await this.owners.take(this, module, (options) => this.makeClientNode(options));
      this.running = { app, node };
    } catch (error) {
      await this.close();
      throw error;
    } finally {
      this.starting = false;
    }
  }

  /** Its connections end without a word; then what it holds in this process is let go. */
  async crash(): Promise<void> {
    this.world.registry.abandon(this.name);
    for (const node of this.nodes) node.abort();
    await this.close();
  }

  /** As Nest ends it: what runs may finish first, with all that it uses. */
  async drain(): Promise<void> {
    const { node } = this.current;
    await this.world.waitFor(node.stopListening());
    await this.endContext();
    await this.close();
  }

  /** Ends what runs, and then the application. Safe to repeat. */
  async close(): Promise<void> {
    await this.closeNodes();
    await this.endContext();
    await this.owners.release(this);
    this.nodes.length = 0;
  }

  /** Ends what runs; pending calls fail. */
  closeNodes(): Promise<void> {
    return this.world.waitFor(Promise.all(this.nodes.map((node) => node.close())));
  }

  private async endContext(): Promise<void> {
    const { context } = this;
    this.running = undefined;
    this.context = undefined;
    await context?.close();
  }

  private compile(): Promise<TestingModule> {
    const builder = this.source.builder();
    const factory = (options?: GenRpcOptions): GenRpcNode => this.makeNode(options);
    const inject = [{ token: GEN_RPC_OPTIONS, optional: true }];
    return builder.overrideProvider(GenRpcNode).useFactory({ factory, inject }).compile();
  }

  private makeNode(options?: GenRpcOptions): GenRpcNode {
    if (this.nodes.length > 0) throw new Error(`${this.key} has more than one GenRpcModule; a test node is one node.`);
    return this.keep(this.world.createNode(this.name, { ...options, name: this.name }));
  }

  private makeClientNode(options: GenRpcOptions): GenRpcNode {
    return this.keep(this.world.createNode(this.name, options));
  }

  private keep(node: GenRpcNode): GenRpcNode {
    this.nodes.push(node);
    return node;
  }

  private async listen(module: TestingModule, strategy: GenRpcServer): Promise<NestApplication | NestMicroservice> {
    const { http = false, configure } = this.given;
    const options: MicroserviceOptions = { strategy };
    if (http === false) {
      const app = module.createNestMicroservice<MicroserviceOptions>(options);
      this.context = app;
      await configure?.(app as NestApplication & NestMicroservice);
      await app.listen();
      return app;
    }
    const app = module.createNestApplication();
    this.context = app;
    await configure?.(app as NestApplication & NestMicroservice);
    app.connectMicroservice<MicroserviceOptions>(options, http === true ? {} : http);
    await app.init();
    await app.startAllMicroservices();
    return app;
  }
}

/** The strategy of the application's own `GenRpcModule`. */
function serverOf(module: TestingModule): GenRpcServer | undefined {
  try {
    return module.get(GenRpcServer, { strict: false });
  } catch {
    return undefined;
  }
}
