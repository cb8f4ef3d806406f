/** Nodes that talk over TLS: both show a certificate, and each is held to the name that the other knows it by. */
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { GenRpcConfigError, GenRpcNode, type TlsOptions } from 'nestjs-gen-rpc';
import { createNode } from 'nestjs-gen-rpc/core';
import { secret } from '../secret.js';
import { serve } from '../serve.js';
import { say, tell, title } from '../story.js';
import { Certificates } from './certificates.js';
import { type Seen, STOCK, StockModule } from './stock.js';

const ORDERS = 'orders@127.0.0.1';
const GUEST = 'guest@127.0.0.1';

title('nodes that prove by certificate who they are, at both ends');
const certificates = await Certificates.create();
const stock = await serve(StockModule.with(await certificates.issue(STOCK, 365)));
const ordersTls = await certificates.issue(ORDERS, 7);
const orders = nodeOf(ORDERS, ordersTls, stock.port);
const guestTls = await certificates.issue(GUEST, 365);
const guest = createNode({ name: GUEST, secret, tls: guestTls, listen: { port: 0 } });

function nodeOf(name: string, tls: TlsOptions, stockPort: number): GenRpcNode {
  return createNode({ name, secret, tls, listen: false, nodes: { [STOCK]: { port: stockPort } } });
}

const count = (caller: GenRpcNode): Promise<number> => caller.call(STOCK, 'stock', 'count', ['tea']);

async function call(): Promise<void> {
  await tell('call', "orders asks stock: stock.count('tea')", () => count(orders), { value: 40 });
  const { node, names } = await orders.call<Seen>(STOCK, 'stock', 'whoCalls');
  assert.equal(node, ORDERS);
  say('seen', `stock knows that this was ${node}, by a certificate that names`);
  for (const name of names) say('', `  ${name}`);
}

/** Somebody has taken stock's address, or discovery tells a wrong one. The caller says nothing to it, and sends nothing. */
async function impostor(): Promise<void> {
  const { port = 0 } = (await guest.listen()) ?? {};
  const misled = nodeOf(ORDERS, ordersTls, port);
  say('impostor', "guest, which knows the secret, is found at stock's address");
  await tell('', "stock.count('tea')", () => count(misled), { code: 'node_certificate_mismatch' });
  await misled.close();
}

/** A node that would be refused by everybody does not even start. */
function borrowed(): void {
  say('borrowed', 'guest calls itself orders, with the certificate that it has → its node does not start');
  assert.throws(
    () => nodeOf(ORDERS, guestTls, stock.port),
    (error) => {
      assert(error instanceof GenRpcConfigError);
      for (const { path, expected } of error.problems) say('', `${path}: expected ${expected}`);
      return error.problems.every(({ path }) => path === 'tls.cert');
    },
  );
}

/** It has the secret and the right name, and its certificate says so; but nobody knows who issued that. */
async function stranger(): Promise<void> {
  const others = await Certificates.create();
  const tls = { ...(await others.issue(ORDERS, 365)), ca: [certificates.ca, others.ca] };
  const forger = nodeOf(ORDERS, tls, stock.port);
  say('forged', 'a node whose certificate names orders, but was issued by an authority that stock does not know');
  await tell('', "stock.count('tea')", () => count(forger), { code: 'node_down' });
  const { certificate_refused: refused } = stock.app.get(GenRpcNode).stats().counts;
  say('', `stock has counted it, certificate_refused: ${refused}, and its log says why`);
  await forger.close();
  await others.remove();
}

/** Files are replaced while twenty callers never pause. Connections that stand live on, new ones show what is new. */
async function renew(): Promise<void> {
  const seenBy = (key?: string): Promise<Seen> => orders.call<Seen>({ node: STOCK, key }, 'stock', 'whoCalls');
  say(
    'renewed',
    `orders' certificate is good for ${orders.stats().certificateDays} days more; one for 90 is written over it`,
  );
  let going = true;
  let answered = 0;
  const callers = Array.from({ length: 20 }, async () => {
    for (; going; answered += 1) assert.equal(await count(orders), 40);
  });
  await certificates.issue(ORDERS, 90);
  while (orders.stats().counts.certificate_renewed === undefined) await sleep(20);
  say('', `it is in use, good for ${orders.stats().certificateDays} days: the node has seen its files change`);
  const [before, after] = [await seenBy(), await seenBy('another')];
  assert.deepEqual([before.days, after.days], [6, 89]);
  say(
    '',
    `the connection that was open was made with the old one: stock sees ${before.days} days; on a new one ${after.days}`,
  );
  going = false;
  await Promise.all(callers);
  say('', `20 callers have called all the while → none of their ${answered} calls was lost`);
}

try {
  await call();
  await impostor();
  borrowed();
  await stranger();
  await renew();
} finally {
  await orders.close();
  await guest.close();
  await stock.app.close();
  await certificates.remove();
}
