/** Says that a server is connected and was never told to listen: HTTP answers then, and nothing else does. */
import { Inject, Injectable, type OnApplicationBootstrap, type OnModuleDestroy } from '@nestjs/common';
import { HttpAdapterHost, ModulesContainer } from '@nestjs/core';
import { GenRpcNode } from '../node/gen-rpc-node.js';
import type { Timer } from '../ports/clock.js';
import { systemClock } from '../system/system.js';
import { nestLog } from './gen-rpc.log.js';
import { GenRpcServer } from './gen-rpc.server.js';
import { strategiesOf } from './gen-rpc.strategies.js';

/** ms, from when HTTP is there: many start their microservices behind that. */
const PATIENCE = 2_000;

@Injectable()
export class GenRpcUnstarted implements OnApplicationBootstrap, OnModuleDestroy {
  private timer: Timer | undefined;
  private stop: (() => void) | undefined;

  constructor(
    @Inject(GenRpcNode) private readonly node: GenRpcNode,
    @Inject(GenRpcServer) private readonly server: GenRpcServer,
    @Inject(ModulesContainer) private readonly modules: ModulesContainer,
    @Inject(HttpAdapterHost) private readonly http: HttpAdapterHost,
  ) {}

  /** Nest may come here more than once. */
  onApplicationBootstrap(): void {
    if (this.stop !== undefined) return;
    const listens = this.http.listen$.subscribe(() => {
      this.timer = systemClock.after(PATIENCE, () => this.check());
    });
    this.stop = () => listens.unsubscribe();
  }

  onModuleDestroy(): void {
    this.stop?.();
    this.timer?.cancel();
  }

  private check(): void {
    if (this.server.wasToldToListen || !strategiesOf(this.modules).includes(this.server)) return;
    nestLog.warn(
      `The server of GenRpcModule is connected, but was not started: ${this.node.name} listens nowhere. ` +
        'Call app.startAllMicroservices() after connectGenRpc(app).',
    );
  }
}
