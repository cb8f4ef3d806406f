/** Stops intake before anything that handlers use is gone. */
import { Inject, Injectable, Module, type OnModuleDestroy } from '@nestjs/common';
import { ModulesContainer } from '@nestjs/core';
import type { GenRpcNode } from '../node/gen-rpc-node.js';
import { GenRpcRoots } from './gen-rpc.roots.js';

/** The nodes of an application. */
@Injectable()
export class GenRpcIntake {
  readonly nodes = new Set<GenRpcNode>();
}

/**
 * Nest tells modules of the end by their distance from the root, and global ones last: when whatever they are made for
 * is gone. This one has itself told first; it has nothing to do at the start, where it is then told last.
 */
@Module({ providers: [GenRpcIntake, GenRpcRoots], exports: [GenRpcIntake] })
export class GenRpcIntakeModule implements OnModuleDestroy {
  constructor(
    @Inject(GenRpcIntake) private readonly intake: GenRpcIntake,
    @Inject(ModulesContainer) modules: ModulesContainer,
  ) {
    for (const module of modules.values()) if (module.metatype === GenRpcIntakeModule) module.distance = -1;
  }

  async onModuleDestroy(): Promise<void> {
    await Promise.all([...this.intake.nodes].map((node) => node.stopListening()));
  }
}
