/** The same application over this library and over Nest's own TCP: what the one does, the other must do. */
import 'reflect-metadata';
import type { AddressInfo, Server as NetServer } from 'node:net';
import type { INestApplicationContext, INestMicroservice, ModuleMetadata } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import {
  ClientTCP,
  ServerTCP,
  Transport,
  type ClientProxy,
  type MicroserviceOptions,
  type Server,
} from '@nestjs/microservices';
import type { Observable } from 'rxjs';
import { expect } from 'vitest';
import type { Endpoint } from '../../lib/driver/driver.js';
import { GenRpcClient } from '../../lib/nest/gen-rpc.client.js';
import { GenRpcRecordBuilder } from '../../lib/nest/gen-rpc.record-builder.js';
import { GenRpcServer } from '../../lib/nest/gen-rpc.server.js';
import { GEN_RPC_TRANSPORT } from '../../lib/nest/gen-rpc.tokens.js';
import type { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import { NEST } from '../support/nest-version.js';
import { CapturedLogger, moduleOf, SECRET, SERVER } from './support.js';

/** What is public of both. */
export type AnyServer = Pick<
  Server,
  'getHandlers' | 'setOnProcessingStartHook' | 'setOnProcessingEndHook' | 'status' | 'unwrap'
> & { on(event: string, callback: () => void): unknown };
export type AnyClient = Pick<
  ClientProxy,
  'close' | 'connect' | 'emit' | 'send' | 'setOnDispatchHook' | 'status' | 'unwrap'
>;

/** What Nest has of one transport: a strategy for the answering side, a client for the calling one. */
export interface Transporter {
  readonly id: Transport | symbol;
  /** What tests are called by. */
  readonly name: string;
  /** A server on a free port of this machine, or on this one. */
  server(port?: number): AnyServer;
  /** Where it listens. */
  portOf(server: AnyServer): Promise<number>;
  client(port: number): AnyClient;
  /** Asserts that a server that has closed has left nothing, as far as can be seen. */
  left?(server: AnyServer): () => void;
}

const OURS: Transporter = {
  id: GEN_RPC_TRANSPORT,
  name: 'gen_rpc',
  server: (port = 0) => new GenRpcServer({ name: SERVER, secret: SECRET, listen: { port } }),
  // A node that listens already says again where.
  portOf: async (server) => ((await server.unwrap<GenRpcNode>().listen()) as Endpoint).port,
  client: (clientPort) => new GenRpcClient({ target: SERVER, secret: SECRET, clientPort }),
  left: (server) => {
    const node = server.unwrap<GenRpcNode>();
    return () => expect(node.stats()).toMatchObject({ pendingCalls: 0, runningCalls: 0, acceptedConnections: 0 });
  },
};

const TCP: Transporter = {
  id: Transport.TCP,
  name: "Nest's TCP",
  server: (port = 0) => new ServerTCP({ host: '127.0.0.1', port }),
  portOf: async (server) => (server.unwrap<NetServer>().address() as AddressInfo).port,
  client: (port) => new ClientTCP({ host: '127.0.0.1', port }),
};

/** For `it.each`, with `over $name` in the title. */
export const BOTH: readonly Transporter[] = [OURS, TCP];

/** Is not asked for what only Nest 12's has: something beside the data, logged events, one hook for the end of all items. */
export function isTcpOfNest11({ id }: Transporter): boolean {
  return NEST < 12 && id === Transport.TCP;
}

type MetadataOf = (data: unknown) => Record<string, string> | undefined;

export interface BothSettings extends ModuleMetadata {
  /** Before the application is initialised: global enhancers, hooks. */
  readonly configure?: (app: INestMicroservice, server: AnyServer) => void;
}

/** An application and a client of it. */
export class Side {
  private metadataOf: MetadataOf = () => undefined;

  private constructor(
    readonly app: INestApplicationContext,
    readonly server: AnyServer,
    readonly port: number,
    readonly client: AnyClient,
    readonly log: CapturedLogger,
    private readonly transport: Transporter,
  ) {}

  static async start(transport: Transporter, { configure, ...metadata }: BothSettings): Promise<Side> {
    const server = transport.server();
    const log = new CapturedLogger();
    const settings = { strategy: server as never, logger: log, abortOnError: false };
    const app = await NestFactory.createMicroservice<MicroserviceOptions>(moduleOf(metadata), settings);
    configure?.(app, server);
    await app.listen();
    const port = await transport.portOf(server);
    return new Side(app, server, port, transport.client(port), log, transport);
  }

  /** From now on this travels beside the data of what is sent: by the dispatch hook; without one, as headers of a record. */
  attach(metadataOf: MetadataOf): void {
    this.metadataOf = metadataOf;
    if (NEST < 12) return;
    this.client.setOnDispatchHook((packet) => {
      const metadata = metadataOf(packet.data);
      if (metadata !== undefined) packet.metadata = metadata;
    });
  }

  send(pattern: unknown, data: unknown): Observable<unknown> {
    const headers = NEST < 12 ? this.metadataOf(data) : undefined;
    const message = headers === undefined ? data : new GenRpcRecordBuilder(data).setHeaders(headers).build();
    return this.client.send(pattern, message);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const assertNothingLeft = this.transport.left?.(this.server);
    await this.client.close();
    await this.app.close();
    assertNothingLeft?.();
  }
}

/** What happened, in order; a test waits for the next entries. */
export class Entries {
  private readonly entries: string[] = [];
  private readonly waiters = new Set<() => void>();

  add(entry: string): void {
    this.entries.push(entry);
    for (const waiter of this.waiters) waiter();
  }

  get all(): readonly string[] {
    return this.entries;
  }

  /** Resolves once there are so many. */
  async of(count: number): Promise<readonly string[]> {
    while (this.entries.length < count) await new Promise<void>((resolve) => this.waiters.add(resolve));
    return this.entries;
  }
}
