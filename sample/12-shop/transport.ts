/** The one file that knows over what the services talk: `SHOP_TRANSPORT=tcp` is Nest's own transport, else this library. */
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import type { DynamicModule } from '@nestjs/common';
import { type ClientProvider, ClientsModule, type MicroserviceOptions, Transport } from '@nestjs/microservices';
import { GenRpcClient, GenRpcServer } from 'nestjs-gen-rpc';
import { secret } from '../secret.js';

const HOST = '127.0.0.1';

export const SERVICES = ['gateway', 'orders', 'stock', 'prices', 'payments', 'mail', 'audit'] as const;
export type Service = (typeof SERVICES)[number];

const isTcp = (): boolean => process.env['SHOP_TRANSPORT'] === 'tcp';

/** For `createMicroservice` and `connectMicroservice`. */
export function serverOf(service: Service): MicroserviceOptions {
  const port = portOf(service);
  if (isTcp()) return { transport: Transport.TCP, options: { host: HOST, port } };
  return { strategy: new GenRpcServer({ name: `${service}@${HOST}`, secret, listen: { port } }) };
}

/** For `ClientsModule` and `ClientProxyFactory`. */
export function clientOf(service: Service): ClientProvider {
  const port = portOf(service);
  if (isTcp()) return { transport: Transport.TCP, options: { host: HOST, port } };
  return { customClass: GenRpcClient, options: { target: `${service}@${HOST}`, secret, clientPort: port } };
}

/** Clients of other services, each injected by its service's name. */
export function clientsOf(...services: readonly Service[]): DynamicModule {
  return ClientsModule.registerAsync(
    services.map((service) => ({ name: service, useFactory: () => clientOf(service) })),
  );
}

/** Where each service listens. Yours is in your configuration; a sample takes ports that are free. */
const ports = new Map<Service, number>();

export async function findPorts(): Promise<void> {
  const listeners = await Promise.all(
    SERVICES.map(async (service) => {
      const listener = createServer().listen(0, HOST);
      await once(listener, 'listening');
      ports.set(service, (listener.address() as AddressInfo).port);
      return listener;
    }),
  );
  for (const listener of listeners) listener.close();
  await Promise.all(listeners.map((listener) => once(listener, 'close')));
}

function portOf(service: Service): number {
  const port = ports.get(service);
  if (port === undefined) throw new Error(`There is no port for ${service}: call findPorts() first.`);
  return port;
}
