/** Durable providers, one set a tenant, over this library and over Nest's own TCP: metadata says whose a message is. */
import { Controller, Inject, Injectable, Scope } from '@nestjs/common';
import {
  ContextIdFactory,
  type ContextId,
  type ContextIdResolver,
  type ContextIdStrategy,
  type HostComponentInfo,
} from '@nestjs/core';
import {
  CONTEXT,
  EventPattern,
  MessagePattern,
  Payload,
  type BaseRpcContext,
  type RequestContext,
} from '@nestjs/microservices';
import { firstValueFrom } from 'rxjs';
import { beforeEach, describe, expect, it } from 'vitest';
import { GenRpcRecordBuilder } from '../../lib/nest/gen-rpc.record-builder.js';
import { BOTH, Entries, isTcpOfNest11, Side } from './both.js';
import { pairOf } from './support.js';

type TenantContext = RequestContext<unknown, BaseRpcContext & { getMetadata(): { tenant?: string } | undefined }>;

/** As in Nest's documentation, with what `getMetadata` tells in the place of an HTTP header. */
class ByTenant implements ContextIdStrategy<TenantContext> {
  private readonly roots = new Map<string, ContextId>();

  attach(contextId: ContextId, request: TenantContext): ContextIdResolver {
    const tenant = request.getContext().getMetadata()?.tenant ?? 'nobody';
    let root = this.roots.get(tenant);
    if (root === undefined) this.roots.set(tenant, (root = ContextIdFactory.create()));
    const known = root;
    return {
      resolve: (info: HostComponentInfo) => (info.isTreeDurable ? known : contextId),
      payload: { tenant },
    };
  }
}

const made: string[] = [];
beforeEach(() => {
  made.length = 0;
  // One for the process, as Nest has it; this file has a process of its own.
  ContextIdFactory.apply(new ByTenant());
});

@Injectable({ scope: Scope.REQUEST, durable: true })
class Connection {
  calls = 0;

  constructor(@Inject(CONTEXT) readonly owner: { tenant: string }) {
    made.push(`connection of ${owner.tenant}`);
  }
}

@Injectable({ scope: Scope.REQUEST })
class Visit {
  constructor(@Inject(CONTEXT) readonly request: TenantContext) {
    made.push('visit');
  }
}

@Controller({ scope: Scope.REQUEST, durable: true })
class Durable {
  constructor(
    @Inject(Connection) private readonly connection: Connection,
    @Inject(Entries) private readonly entries: Entries,
  ) {
    made.push(`controller of ${connection.owner.tenant}`);
  }

  @MessagePattern('durable')
  answer(@Payload() data: unknown): unknown {
    return [this.connection.owner.tenant, (this.connection.calls += 1), data];
  }

  @EventPattern('durable.event')
  event(@Payload() data: string): void {
    this.entries.add(`${data} of ${this.connection.owner.tenant}`);
  }
}

@Controller()
class Mixed {
  constructor(
    @Inject(Connection) private readonly connection: Connection,
    @Inject(Visit) private readonly visit: Visit,
  ) {}

  @MessagePattern('mixed')
  answer(): unknown {
    return [this.connection.owner.tenant, this.visit.request.getContext().getMetadata()?.tenant];
  }
}

const APP = { controllers: [Durable, Mixed], providers: [Connection, Visit, Entries] };

/** A call as a tenant. */
function as(side: Side, tenant: string, pattern: string): Promise<unknown> {
  return firstValueFrom(side.send(pattern, { tenant }));
}

/** Names, beside the data, whose each message is. */
async function start(transport: (typeof BOTH)[number]): Promise<Side> {
  const side = await Side.start(transport, APP);
  side.attach((data) => {
    const { tenant } = data as { tenant?: string };
    return tenant === undefined ? undefined : { tenant };
  });
  return side;
}

describe.each(BOTH.filter((transport) => !isTcpOfNest11(transport)))('over $name', (transport) => {
  it(`N-38 a durable controller and what it needs are made once a tenant, over ${transport.name}`, async () => {
    await using side = await start(transport);
    for (const count of [1, 2, 3]) {
      await expect(as(side, 'red', 'durable')).resolves.toEqual(['red', count, { tenant: 'red' }]);
      await expect(as(side, 'blue', 'durable')).resolves.toEqual(['blue', count, { tenant: 'blue' }]);
    }
    expect(made).toEqual(['connection of red', 'controller of red', 'connection of blue', 'controller of blue']);
  });

  it(`N-38 tenants that call at once do not get each other's, over ${transport.name}`, async () => {
    await using side = await start(transport);
    const tenants = Array.from({ length: 40 }, (_, index) => `tenant ${index % 8}`);
    const replies = await Promise.all(tenants.map((tenant) => as(side, tenant, 'durable')));
    expect(replies.map((reply) => (reply as unknown[])[0])).toEqual(tenants);
  });

  it(`N-38 what is not durable beside it is made for every message, over ${transport.name}`, async () => {
    await using side = await start(transport);
    await expect(as(side, 'red', 'mixed')).resolves.toEqual(['red', 'red']);
    await expect(as(side, 'red', 'mixed')).resolves.toEqual(['red', 'red']);
    await expect(as(side, 'blue', 'mixed')).resolves.toEqual(['blue', 'blue']);
    expect(made.filter((what) => what === 'visit')).toHaveLength(3);
    expect(made.filter((what) => what === 'connection of red')).toHaveLength(1);
  });

  it(`N-38 messages without metadata share one of their own, over ${transport.name}`, async () => {
    await using side = await start(transport);
    await expect(firstValueFrom(side.client.send('durable', 1))).resolves.toEqual(['nobody', 1, 1]);
    await expect(firstValueFrom(side.client.send('durable', 2))).resolves.toEqual(['nobody', 2, 2]);
    side.client.emit('durable.event', 'event');
    await expect(side.app.get(Entries).of(1)).resolves.toEqual(['event of nobody']);
  });
});

it('N-38 the headers of a record say whose a message is, too', async () => {
  await using pair = await pairOf(APP);
  const record = (tenant: string) => new GenRpcRecordBuilder('x').setHeaders({ tenant }).build();
  await expect(firstValueFrom(pair.caller.send('durable', record('red')))).resolves.toEqual(['red', 1, 'x']);
  await expect(firstValueFrom(pair.caller.send('durable', record('blue')))).resolves.toEqual(['blue', 1, 'x']);
  await expect(firstValueFrom(pair.caller.send('durable', record('red')))).resolves.toEqual(['red', 2, 'x']);
  pair.caller.emit('durable.event', record('blue'));
  await expect(pair.app.get(Entries).of(1)).resolves.toEqual(['x of blue']);
});
