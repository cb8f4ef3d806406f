/** Arguments are checked by pipes before a handler runs; what is wrong with them, field by field, is in the error. */
import assert from 'node:assert/strict';
import { GenRpcClient, isGenRpcError } from 'nestjs-gen-rpc';
import { createNode } from 'nestjs-gen-rpc/core';
import { firstValueFrom } from 'rxjs';
import { secret } from '../secret.js';
import { serve } from '../serve.js';
import { say, tell, title } from '../story.js';
import { SHELF, ShelfModule } from './shelf.js';

title('what arrives is checked by pipes');
const shelf = await serve(ShelfModule);
const rpc = createNode({ name: 'front@127.0.0.1', secret, listen: false, nodes: { [SHELF]: { port: shelf.port } } });
const client = new GenRpcClient({ target: SHELF, node: rpc });

/** What the other side meant its caller to see. */
async function problemsOf(call: Promise<unknown>): Promise<readonly string[]> {
  const error = await call.then(
    () => assert.fail('it was accepted'),
    (caught: unknown) => caught,
  );
  assert(isGenRpcError(error) && error.code === 'handler_failed');
  return [(error.details as { message: readonly string[] }).message].flat();
}

async function verbs(): Promise<void> {
  const put = (box: object): Promise<string> => rpc.call(SHELF, 'shelf', 'put', [box]);
  await tell('dto', "shelf.put({ goods: 'tea', count: 3 })", () => put({ goods: 'tea', count: 3 }), {
    value: '3 of tea',
  });
  say('', "shelf.put({ goods: 'a lot of tea', count: 0, colour: 'red' }) → handler_failed, of which details say");
  for (const problem of await problemsOf(put({ goods: 'a lot of tea', count: 0, colour: 'red' }))) {
    say('', `  ${problem}`);
  }
  const take = (count: unknown): Promise<string> => rpc.call(SHELF, 'shelf', 'take', ['tea', count]);
  await tell('argument', "shelf.take('tea', '2'), through ParseIntPipe", () => take('2'), {
    value: '2 of tea, number',
  });
  say('', "shelf.take('tea', 'two') → handler_failed, of which details say");
  for (const problem of await problemsOf(take('two'))) say('', `  ${problem}`);
}

/** A client of Nest's, and controllers as they are with `Transport.TCP`. */
async function asNest(): Promise<void> {
  const wrong = { goods: 'tea', count: 'many' };
  const failing = (pattern: string) => () =>
    firstValueFrom(client.send(pattern, wrong)).catch((error: unknown) => error);
  const hidden = { status: 'error', message: 'Internal server error' };
  await tell('plain', "send('plain.hidden')", failing('plain.hidden'), { value: hidden });
  const told = { count: ['count must not be less than 1', 'count must be an integer number'] };
  await tell('', "send('plain.told'), whose pipe makes an RpcException", failing('plain.told'), { value: told });
}

try {
  await verbs();
  await asNest();
} finally {
  await client.close();
  await rpc.close();
  await shelf.app.close();
}
