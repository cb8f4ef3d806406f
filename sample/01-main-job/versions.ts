/** `prices` is there in two versions, 1.0.0 and 1.1.0: who calls says which will do. */
import type { GenRpcNode } from 'nestjs-gen-rpc';
import { tell } from '../story.js';
import { PRICES } from './nodes.js';

export async function versions(rpc: GenRpcNode): Promise<void> {
  const totalBy = (version: string): Promise<number> =>
    rpc.call<number>(PRICES, { module: 'prices', version }, 'total', ['tea', 11]);

  await tell('version', "prices 1.0.0: total('tea', 11)", () => totalBy('1.0.0'), { value: 46.2 });
  await tell('', "prices ^1.0.0: total('tea', 11), where the newest one answers", () => totalBy('^1.0.0'), {
    value: 42,
  });
  await tell('', "prices ^2.0.0: total('tea', 11)", () => totalBy('^2.0.0'), { code: 'incompatible' });
}
