/** Says that an application has more than one node where one was meant: whoever asks for it gets any of them. */
import { Inject, Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import { ModulesContainer } from '@nestjs/core';
import { GenRpcNode } from '../node/gen-rpc-node.js';
import { nestLog } from './gen-rpc.log.js';

@Injectable()
export class GenRpcRoots implements OnApplicationBootstrap {
  private told = false;

  constructor(@Inject(ModulesContainer) private readonly modules: ModulesContainer) {}

  /** Nest may come here more than once. */
  onApplicationBootstrap(): void {
    const names = this.told ? [] : this.globalNodes();
    if (names.length < 2) return;
    this.told = true;
    nestLog.warn(
      `GenRpcModule.forRoot() is there ${names.length} times, with the nodes ${names.join(', ')}: whoever injects ` +
        'GenRpcNode gets one of them, and connectGenRpc(app) connects one. Import it once in an application, or ' +
        'pass `isGlobal: false` to each where several are meant.',
    );
  }

  /** Of modules that are not global, who imports one has it. */
  private globalNodes(): string[] {
    const wrappers = [...this.modules.values()]
      .filter(({ isGlobal }) => isGlobal)
      .map(({ providers }) => providers.get(GenRpcNode));
    return wrappers.flatMap((wrapper) => (wrapper === undefined ? [] : [(wrapper.instance as GenRpcNode).name]));
  }
}
