/** Starts all services: six microservices, and a gateway that also speaks HTTP. Here in one process, each on its port. */
import type { INestApplicationContext, LoggerService, Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { ClientProxy, MicroserviceOptions } from '@nestjs/microservices';
import { AuditModule } from './audit.js';
import { FailureFilter } from './failures.js';
import { GatewayModule } from './gateway.js';
import { MailModule } from './mail.js';
import { OrdersModule } from './orders.js';
import { PaymentsModule } from './payments.js';
import { PricesModule } from './prices.js';
import { StockModule } from './stock.js';
import { clientsOf, findPorts, serverOf, type Service, SERVICES } from './transport.js';

const MODULES = {
  audit: AuditModule,
  mail: MailModule,
  stock: StockModule,
  prices: PricesModule,
  payments: PaymentsModule,
  orders: OrdersModule,
} satisfies Partial<Record<Service, Type>>;

type Logging = false | LoggerService | 'error'[];

export class Shop {
  private constructor(
    private readonly apps: ReadonlyMap<Service, INestApplicationContext>,
    private readonly visitor: INestApplicationContext,
    /** Of the gateway. */
    readonly url: string,
  ) {}

  static async open(logger: Logging = ['error']): Promise<Shop> {
    await findPorts();
    const apps = new Map<Service, INestApplicationContext>();
    for (const [service, module] of Object.entries(MODULES) as [Service, Type][]) {
      const app = await NestFactory.createMicroservice<MicroserviceOptions>(module, { ...serverOf(service), logger });
      app.useGlobalFilters(new FailureFilter());
      await app.listen();
      apps.set(service, app);
    }
    const gateway = await NestFactory.create(GatewayModule, { logger });
    gateway.connectMicroservice<MicroserviceOptions>(serverOf('gateway'));
    await gateway.startAllMicroservices();
    await gateway.listen(0, '127.0.0.1');
    apps.set('gateway', gateway);
    const visitor = await NestFactory.createApplicationContext(clientsOf(...SERVICES), { logger });
    return new Shop(apps, visitor, await gateway.getUrl());
  }

  /** A client of one service, for whoever is not a service. */
  client(service: Service): ClientProxy {
    return this.visitor.get<ClientProxy>(service);
  }

  /** As if its process had ended. */
  async stop(service: Service): Promise<void> {
    await this.apps.get(service)?.close();
  }

  async close(): Promise<void> {
    await this.visitor.close();
    for (const app of [...this.apps.values()].reverse()) await app.close();
  }
}
