/** docs/TESTING.md: its code is run, with an application like the one that it speaks of; its tables are held against what there is. */
import { expect, it } from 'vitest';
import { RunningCluster } from '../../lib/testing/running-cluster.js';
import { Example, programOf, resultsIn } from './examples.js';
import { namesIn, Page, rowsOf } from './pages.js';

const page = await Page.read('docs/TESTING.md');

const SHOP = `
import { Injectable, Module } from '@nestjs/common';
import { Arg, GenRpcModule, GenRpcNode, InjectGenRpc, isGenRpcError, RpcFunction, RpcModule } from 'nestjs-gen-rpc';

@Injectable()
export class Shelves {
  count(): number {
    return 40;
  }
}

@RpcModule('stock')
class StockController {
  constructor(private readonly shelves: Shelves) {}

  @RpcFunction()
  reserve(@Arg(0) _goods: string): string {
    return this.shelves.count() > 0 ? 'reserved' : 'sold out';
  }
}

@Module({ controllers: [StockController], providers: [Shelves] })
export class StockModule {}

@Injectable()
export class Orders {
  constructor(@InjectGenRpc() private readonly rpc: GenRpcNode) {}

  async place(goods: string): Promise<string> {
    try {
      return await this.rpc.call<string>('stock@test', 'stock', 'reserve', [goods], { timeout: 1000 });
    } catch (error) {
      if (isGenRpcError(error) && error.code === 'timeout') return 'stock is silent';
      throw error;
    }
  }
}

@Module({
  imports: [GenRpcModule.forRoot({ name: 'orders@10.0.0.1', secret: 'a secret of production' })],
  providers: [Orders],
})
export class OrdersModule {}
`;

it('docs/TESTING.md shows code that compiles strictly and gives what it says', { timeout: 60_000 }, async () => {
  const code = page.snippets('ts');
  const program = `import { Orders, OrdersModule, Shelves, StockModule } from './shop.js';\n${programOf(code)}`;
  await using example = await Example.compile({ 'page.ts': program, 'shop.ts': SHOP });
  expect(resultsIn(code.join('\n'))).toBe(5);
  expect(await example.run('page.js', {})).toBe('5');
});

it('docs/TESTING.md names everything that a test can do to a cluster', () => {
  const shown = [...rowsOf(page.section('## What you give it')), ...rowsOf(page.section('## What you do to it'))];
  const named = shown.flatMap(([cell]) => namesIn(cell)).map((one) => /(\w+)\(/.exec(one)?.[1]);
  const methods = Object.entries(Object.getOwnPropertyDescriptors(RunningCluster.prototype))
    .filter(([name, { value }]) => typeof value === 'function' && !HIDDEN.has(name))
    .map(([name]) => name);
  expect(methods.filter((name) => !named.includes(name))).toEqual([]);
});

/** What has a paragraph instead, and what is not the user's. */
const HIDDEN = new Set(['constructor', 'close', 'startAll', 'hostOf', 'applicationOf']);
