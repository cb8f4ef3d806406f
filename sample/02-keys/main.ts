/** Calls of one key share a connection and those of other keys have others, up to a bound. */
import assert from 'node:assert/strict';
import { Injectable, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { GenRpcModule, GenRpcNode, InjectGenRpc } from 'nestjs-gen-rpc';
import { secret } from '../secret.js';
import { serve } from '../serve.js';
import { say, tell, title } from '../story.js';
import { JOURNAL, JournalModule } from './journal.js';

title('one node, several connections, picked by key');
const journal = await serve(JournalModule);

@Injectable()
class Customers {
  constructor(@InjectGenRpc() private readonly rpc: GenRpcNode) {}

  async connections(): Promise<void> {
    await this.callFor('no key', [undefined], 1);
    await this.callFor('keys 1, 2, 4', [1, 2, 4], 4);
    await this.callFor('the same keys', [4, 2, 1], 4);
    await this.callFor('an object', [{ shop: 1, id: 7 }], 5);
    await this.callFor('an equal one', [{ id: 7, shop: 1 }], 5);
    await this.callFor('100 keys', [...Array(100).keys()], 9);
    say('', 'one without a key, and 8 (maxLanesPerNode) that all keys share');
  }

  /** Ordered casts of one key run one after the other; nobody waits for those of another key. */
  async order(): Promise<void> {
    const ann = { node: JOURNAL, key: 'ann' };
    const bob = { node: JOURNAL, key: 'bob' };
    this.rpc.cast(ann, 'journal', 'write', ['ann 1', 200], { ordered: true });
    this.rpc.cast(ann, 'journal', 'write', ['ann 2', 0], { ordered: true });
    this.rpc.cast(bob, 'journal', 'write', ['bob 1', 0], { ordered: true });
    say('ordered', "journal.write('ann 1') takes 200 ms, 'ann 2' and 'bob 1' none");
    await tell('', 'journal.list()', () => this.rpc.call<string[]>(JOURNAL, 'journal', 'list', [3]), {
      value: ['bob 1', 'ann 1', 'ann 2'],
    });
  }

  private async callFor(who: string, keys: readonly unknown[], expected: number): Promise<void> {
    for (const key of keys) await this.rpc.call({ node: JOURNAL, key }, 'journal', 'list', [0]);
    const { openConnections } = this.rpc.stats();
    assert.equal(openConnections, expected, who);
    say('calls', `${who.padEnd(13)} → open connections: ${openConnections}`);
  }
}

@Module({
  imports: [
    GenRpcModule.forRoot({
      name: 'front@127.0.0.1',
      secret,
      listen: false,
      nodes: { [JOURNAL]: { port: journal.port } },
      maxLanesPerNode: 8,
    }),
  ],
  providers: [Customers],
})
class FrontModule {}

const front = await NestFactory.createApplicationContext(FrontModule, { logger: ['error'] });
try {
  const customers = front.get(Customers);
  await customers.connections();
  await customers.order();
} finally {
  await front.close();
  await journal.app.close();
}
