/** From what a test names as an application to something that Nest can compile. */
import { Test, type TestingModuleBuilder } from '@nestjs/testing';
import type { NestModule } from './nest-types.js';
import type { TestModule, TestNode } from './test-cluster.js';

export function testNodeOf(given: TestModule | TestNode): TestNode {
  return 'app' in given ? given : { app: given };
}

/** Makes a builder: as often as the application is started, where that is possible. */
export class TestModuleSource {
  private used = false;

  constructor(
    private readonly key: string,
    private readonly given: TestModule,
  ) {}

  /** @throws Error where there was one builder only, and it has been compiled. */
  builder(): TestingModuleBuilder {
    const { given, key } = this;
    if (isMaker(given)) return given();
    if (!isBuilder(given)) return Test.createTestingModule({ imports: [given] });
    if (this.used) {
      throw new Error(`A testing module starts once. To start ${key} again, give a function that makes it.`);
    }
    this.used = true;
    return given;
  }
}

function isBuilder(given: TestingModuleBuilder | NestModule): given is TestingModuleBuilder {
  return 'compile' in given && typeof given.compile === 'function';
}

/** A function, and no class: of a class, nobody may replace the prototype. */
function isMaker(given: TestModule): given is () => TestingModuleBuilder {
  return typeof given === 'function' && Object.getOwnPropertyDescriptor(given, 'prototype')?.writable !== false;
}
