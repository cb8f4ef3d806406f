/** Durable and request-scoped controllers, called by the typed client: headers say whose a call is. */
import { Inject, Injectable, Scope } from '@nestjs/common';
import { ContextIdFactory, type ContextId, type ContextIdStrategy, type HostComponentInfo } from '@nestjs/core';
import { CONTEXT, Ctx, type RequestContext } from '@nestjs/microservices';
import { beforeEach, expect, it } from 'vitest';
import { GenRpcContext } from '../../lib/nest/gen-rpc.context.js';
import { Arg, RpcFunction, RpcModule } from '../../lib/nest/gen-rpc.decorators.js';
import { until } from '../support/door.js';
import { App, SERVER } from './support.js';

type TenantContext = RequestContext<unknown, GenRpcContext>;

class ByTenant implements ContextIdStrategy<TenantContext> {
  private readonly roots = new Map<string, ContextId>();

  attach(contextId: ContextId, request: TenantContext) {
    const tenant = request.getContext().getMetadata()?.['tenant'] ?? 'nobody';
    const root = this.roots.get(tenant) ?? ContextIdFactory.create();
    this.roots.set(tenant, root);
    return { resolve: (info: HostComponentInfo) => (info.isTreeDurable ? root : contextId), payload: { tenant } };
  }
}

const made: string[] = [];
const noted: string[] = [];
beforeEach(() => {
  made.length = noted.length = 0;
  ContextIdFactory.apply(new ByTenant());
});

@Injectable({ scope: Scope.REQUEST, durable: true })
class Ledger {
  count = 0;

  constructor(@Inject(CONTEXT) readonly owner: { tenant: string }) {
    made.push(`ledger of ${owner.tenant}`);
  }
}

@RpcModule('ledger')
@Injectable({ scope: Scope.REQUEST, durable: true })
class LedgerController {
  constructor(@Inject(Ledger) private readonly ledger: Ledger) {
    made.push(`controller of ${ledger.owner.tenant}`);
  }

  @RpcFunction()
  async add(@Arg(0) amount: number, @Arg(1) text: string, @Ctx() context: GenRpcContext): Promise<string> {
    this.ledger.count += amount;
    return `${this.ledger.owner.tenant} ${this.ledger.count} ${text} for ${context.getMetadata()?.['tenant']}`;
  }

  @RpcFunction()
  async *entries(@Arg(0) most: number): AsyncGenerator<string> {
    for (let n = 0; n < most; n += 1) yield `${this.ledger.owner.tenant} ${n}`;
  }

  @RpcFunction()
  note(@Arg(0) text: string): void {
    noted.push(`${text} by ${this.ledger.owner.tenant}`);
  }
}

const APP = { controllers: [LedgerController], providers: [Ledger] };

it('N-38 a durable @RpcModule is made once a tenant, whichever verb of the typed client calls it', async () => {
  await using app = await App.start(APP);
  const ledger = app.client().unwrap().module<LedgerController>('ledger');
  const as = (tenant: string) => ({ headers: { tenant } });
  const [tea, rice] = [ledger.at(SERVER, as('tea')), ledger.at(SERVER, as('rice'))];
  await expect(tea.add(1, 'x')).resolves.toBe('tea 1 x for tea');
  await expect(rice.add(5, 'y')).resolves.toBe('rice 5 y for rice');
  await expect(tea.add(2, 'z')).resolves.toBe('tea 3 z for tea');
  const items: string[] = [];
  for await (const item of ledger.streamFrom(SERVER, as('rice')).entries(2)) items.push(item);
  expect(items).toEqual(['rice 0', 'rice 1']);
  expect(ledger.castTo(SERVER, as('tea')).note('sold')).toBe(true);
  await until(() => noted.length === 1);
  expect(noted).toEqual(['sold by tea']);
  expect(made).toEqual(['ledger of tea', 'controller of tea', 'ledger of rice', 'controller of rice']);
});

it('N-38 tenants that call a durable @RpcModule at once do not get each other’s', async () => {
  await using app = await App.start(APP);
  const ledger = app.client().unwrap().module<LedgerController>('ledger');
  const tenants = Array.from({ length: 30 }, (_, n) => `t${n % 3}`);
  const replies = await Promise.all(tenants.map((tenant) => ledger.at(SERVER, { headers: { tenant } }).add(0, 'x')));
  expect(replies).toEqual(tenants.map((tenant) => `${tenant} 0 x for ${tenant}`));
  expect(made).toHaveLength(6);
});
