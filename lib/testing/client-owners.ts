/** Moves clients with a node of their own into the test cluster, each into the application that has it. */
import type { INestApplicationContext } from '@nestjs/common';
import { ModulesContainer } from '@nestjs/core';
import { GenRpcClient } from '../nest/gen-rpc.client.js';
import type { MakeNode } from '../nest/gen-rpc.client-options.js';

/** Whoever has clients. */
interface Owner {
  readonly key: string;
}

/** Of all clusters of the process: one module may be in several of them. */
const owners = new WeakMap<GenRpcClient, Owner>();

export class ClientOwners {
  private readonly clients = new Set<GenRpcClient>();

  /**
   * Every client that is a provider of the application, or a property of one, makes its node by `makeNode` from now on.
   * @throws Error where another application has it: `ClientsModule.register` makes a client once for all who import it.
   */
  async take(owner: Owner, app: INestApplicationContext, makeNode: MakeNode): Promise<void> {
    for (const client of clientsOf(app)) {
      const other = owners.get(client);
      if (other === owner) continue;
      if (other !== undefined) {
        throw new Error(
          `${namesOf(other, owner)} have one GenRpcClient between them: ClientsModule.register makes it when the ` +
            'module is written, once. Use ClientsModule.registerAsync, which makes one for each application.',
        );
      }
      owners.set(client, owner);
      this.clients.add(client);
      await client.move(makeNode);
    }
  }

  /** They may be another's from now on. */
  async release(owner: Owner): Promise<void> {
    for (const client of this.clients) {
      if (owners.get(client) !== owner) continue;
      this.clients.delete(client);
      owners.delete(client);
      await client.close();
    }
  }
}

function namesOf({ key: one }: Owner, { key: other }: Owner): string {
  return one === other ? `${one}, and ${other} of another cluster,` : `${one} and ${other}`;
}

function clientsOf(app: INestApplicationContext): Set<GenRpcClient> {
  const found = new Set<GenRpcClient>();
  for (const { providers, controllers, injectables } of app.get(ModulesContainer).values()) {
    for (const { instance } of [...providers.values(), ...controllers.values(), ...injectables.values()]) {
      for (const one of [instance, ...propertiesOf(instance)]) if (one instanceof GenRpcClient) found.add(one);
    }
  }
  return found;
}

/** Own ones, without asking getters. */
function propertiesOf(instance: unknown): unknown[] {
  if (typeof instance !== 'object' || instance === null) return [];
  return Object.values(Object.getOwnPropertyDescriptors(instance)).map(({ value }): unknown => value);
}
