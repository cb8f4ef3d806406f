/** Pairs of Nest applications over real sockets: one answers, one calls. */
import 'reflect-metadata';
import { Module, type INestMicroservice, type LoggerService, type ModuleMetadata, type Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { MicroserviceOptions } from '@nestjs/microservices';
import { lastValueFrom, type Observable, toArray } from 'rxjs';
import { expect } from 'vitest';
import type { Endpoint } from '../../lib/driver/driver.js';
import type { GenRpcClientOptions } from '../../lib/nest/gen-rpc.client-options.js';
import { GenRpcClient } from '../../lib/nest/gen-rpc.client.js';
import type { GenRpcPacketOptions } from '../../lib/nest/gen-rpc.packets.js';
import { GenRpcServer } from '../../lib/nest/gen-rpc.server.js';
import type { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import type { GenRpcOptions } from '../../lib/node/options.js';
import { SECRET } from '../support/cluster.js';

export { SECRET };

/** The name of every answering node, unless a test gives another. */
export const SERVER = 'server@127.0.0.1';

/** Keeps what Nest, and through it this library, would print. */
export class CapturedLogger implements LoggerService {
  readonly lines: string[] = [];
  log = (message: unknown): void => this.keep('log', message);
  warn = (message: unknown): void => this.keep('warn', message);
  error = (message: unknown, ...more: unknown[]): void => this.keep('error', message, ...more);

  /** Lines of a level that say `text`. */
  said(level: 'log' | 'warn' | 'error', text: string): string[] {
    return this.lines.filter((line) => line.startsWith(`${level} `) && line.includes(text));
  }

  private keep(level: string, ...parts: unknown[]): void {
    const shown = parts.map((part) =>
      part instanceof Error ? part.stack : typeof part === 'string' ? part : JSON.stringify(part),
    );
    this.lines.push(`${level} ${shown.join(' ')}`);
  }
}

export function moduleOf(metadata: ModuleMetadata): Type {
  class TestModule {}
  Module(metadata)(TestModule);
  return TestModule;
}

export interface AppSettings extends ModuleMetadata {
  readonly options?: Partial<GenRpcOptions>;
  readonly packets?: GenRpcPacketOptions;
  /** Before the application is initialised: global enhancers, hooks. */
  readonly configure?: (app: INestMicroservice, server: GenRpcServer) => void;
}

/** One answering application. */
export class App {
  private constructor(
    readonly app: INestMicroservice,
    readonly server: GenRpcServer,
    readonly node: GenRpcNode,
    readonly address: Endpoint,
    readonly log: CapturedLogger,
    private readonly clients = new Set<GenRpcClient>(),
  ) {}

  static async start({ options, packets, configure, ...metadata }: AppSettings): Promise<App> {
    const server = new GenRpcServer({ name: SERVER, secret: SECRET, listen: { port: 0 }, ...options }, packets);
    const log = new CapturedLogger();
    const app = await NestFactory.createMicroservice<MicroserviceOptions>(moduleOf(metadata), {
      strategy: server,
      logger: log,
      abortOnError: false,
    });
    configure?.(app, server);
    const address = (await app.listen()) as unknown as Endpoint;
    return new App(app, server, server.unwrap(), address, log);
  }

  /** A client of this application, closed with it. */
  client(options: Partial<GenRpcClientOptions> = {}): GenRpcClient {
    const client = new GenRpcClient({ target: SERVER, secret: SECRET, clientPort: this.address.port, ...options });
    this.clients.add(client);
    return client;
  }

  /** Closes clients and application, and asserts that nothing of them is left. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.clients) {
      const node = client.unwrap();
      await client.close();
      expect(node.stats()).toMatchObject({ pendingCalls: 0, connectedNodes: 0 });
    }
    await this.app.close();
    expect(this.node.stats()).toMatchObject({
      pendingCalls: 0,
      runningCalls: 0,
      acceptedConnections: 0,
      handshakes: 0,
    });
  }
}

export type Pair = App & { readonly caller: GenRpcClient };

/** An application and a client of it. */
export async function pairOf(settings: AppSettings, client: Partial<GenRpcClientOptions> = {}): Promise<Pair> {
  const app = await App.start(settings);
  return Object.assign(app, { caller: app.client(client) });
}

/** What a reply brings, item by item. */
export function itemsOf<T>(reply: Observable<T>): Promise<T[]> {
  return lastValueFrom(reply.pipe(toArray()));
}

/** A promise, and the way to keep it. */
export function signalOf<T = void>(): { readonly promise: Promise<T>; readonly resolve: (value: T) => void } {
  let resolve: (value: T) => void = () => {};
  const promise = new Promise<T>((keep) => (resolve = keep));
  return { promise, resolve };
}
