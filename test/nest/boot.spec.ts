import { readFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { Controller, Get, Injectable, type INestApplication } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import {
  MessagePattern,
  Payload,
  Transport,
  type AsyncMicroserviceOptions,
  type MicroserviceOptions,
} from '@nestjs/microservices';
import { Test } from '@nestjs/testing';
import { firstValueFrom } from 'rxjs';
import { describe, expect, it } from 'vitest';
import type { Endpoint } from '../../lib/driver/driver.js';
import { GenRpcClient } from '../../lib/nest/gen-rpc.client.js';
import { GenRpcModule } from '../../lib/nest/gen-rpc.module.js';
import { GenRpcServer } from '../../lib/nest/gen-rpc.server.js';
import { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import { LOOPBACK_TLS } from '../support/tls.js';
import { App, CapturedLogger, moduleOf, SECRET, SERVER, signalOf } from './support.js';

@Injectable()
class Words {
  greet(name: string): string {
    return `hello ${name}`;
  }
}

@Controller()
class Greeter {
  constructor(private readonly words: Words) {}

  @MessagePattern('greet')
  greet(@Payload() name: string): string {
    return this.words.greet(name);
  }

  @Get('greet')
  overHttp(): string {
    return this.words.greet('http');
  }
}

const PARTS = { controllers: [Greeter], providers: [Words] };
const OPTIONS = { name: SERVER, secret: SECRET, listen: { port: 0 } };

async function greet(port: number): Promise<unknown> {
  const client = new GenRpcClient({ target: SERVER, secret: SECRET, clientPort: port });
  try {
    return await firstValueFrom(client.send('greet', 'you'));
  } finally {
    await client.close();
  }
}

function strategyApp(server: GenRpcServer) {
  const settings = { strategy: server, logger: new CapturedLogger(), abortOnError: false };
  return NestFactory.createMicroservice<MicroserviceOptions>(moduleOf(PARTS), settings);
}

async function hybrid(parts: object = PARTS): Promise<INestApplication> {
  return NestFactory.create(moduleOf(parts), { logger: new CapturedLogger(), abortOnError: false });
}

describe('a microservice', () => {
  it('N-06 an application listens on a free port, and says on which once it accepts', async () => {
    const app = await strategyApp(new GenRpcServer(OPTIONS));
    const address = (await app.listen()) as unknown as Endpoint;
    expect(address).toEqual({ host: '127.0.0.1', port: expect.any(Number) });
    expect(address.port).toBeGreaterThan(0);
    await expect(greet(address.port)).resolves.toBe('hello you');
    await app.close();
  });

  it('runs beside another in one process', async () => {
    await using one = await App.start(PARTS);
    await using two = await App.start(PARTS);
    expect(one.address.port).not.toBe(two.address.port);
    await expect(greet(one.address.port)).resolves.toBe('hello you');
    await expect(greet(two.address.port)).resolves.toBe('hello you');
  });

  it('N-05 listen rejects with EADDRINUSE when the port is taken', async () => {
    const taken = createServer();
    await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve));
    const { port } = taken.address() as AddressInfo;
    const app = await strategyApp(new GenRpcServer({ ...OPTIONS, listen: { port } }));
    await expect(app.listen()).rejects.toMatchObject({ code: 'EADDRINUSE' });
    await app.close();
    await new Promise((resolve) => taken.close(resolve));
  });

  it('N-05 listen rejects with ENOTFOUND when the host does not exist', async () => {
    const listen = { host: 'no-such-host.invalid', port: 0, allowPlaintext: true };
    const app = await strategyApp(new GenRpcServer({ ...OPTIONS, listen }));
    await expect(app.listen()).rejects.toMatchObject({ code: expect.stringMatching(/^(ENOTFOUND|EAI_AGAIN)$/) });
    await app.close();
  });

  it('N-05 listen rejects with EADDRNOTAVAIL when the address is not its own', async () => {
    const listen = { host: '192.0.2.1', port: 0, allowPlaintext: true };
    const app = await strategyApp(new GenRpcServer({ ...OPTIONS, listen }));
    await expect(app.listen()).rejects.toMatchObject({ code: 'EADDRNOTAVAIL' });
    await app.close();
  });

  it.skipIf(!canDropPrivileges())('N-05 listen rejects with EACCES when the port is for others', async () => {
    const app = await strategyApp(new GenRpcServer({ ...OPTIONS, listen: { port: 80 } }));
    process.seteuid?.(65_534);
    try {
      await expect(app.listen()).rejects.toMatchObject({ code: 'EACCES' });
    } finally {
      process.seteuid?.(0);
    }
    await app.close();
  });

  it('N-05 an application listens after all once what was in the way is gone', async () => {
    const taken = await App.start(PARTS);
    const app = await strategyApp(new GenRpcServer({ ...OPTIONS, listen: { port: taken.address.port } }));
    await expect(app.listen()).rejects.toMatchObject({ code: 'EADDRINUSE' });
    await taken[Symbol.asyncDispose]();
    await expect(app.listen()).resolves.toEqual({ host: '127.0.0.1', port: taken.address.port });
    await expect(greet(taken.address.port)).resolves.toBe('hello you');
    await app.close();
  });

  it.each([
    ['a key that is none', '-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n', 'a private key, as PEM'],
    ['a file that is not there', '/no/such/key.pem', 'ENOENT'],
  ])('N-05 an application does not start with %s, and names option and reason', (_, key, reason) => {
    const wrong = { ...OPTIONS, tls: { ...LOOPBACK_TLS, key } };
    expect(() => new GenRpcServer(wrong)).toThrow(new RegExp(`tls\\.key: expected .*${reason}`));
  });

  it('N-05 an application does not start without valid options, and says all that is wrong', () => {
    const wrong = { name: 'nobody', secret: 'short', listen: { port: 70_000 } };
    expect(() => new GenRpcServer(wrong)).toThrow(/3 problems in new GenRpcServer\(\)/);
  });

  it('N-66 closes twice, and without having listened', async () => {
    const never = await strategyApp(new GenRpcServer(OPTIONS));
    await never.close();
    const app = await strategyApp(new GenRpcServer(OPTIONS));
    await app.listen();
    await app.close();
    await app.close();
    await new GenRpcServer(OPTIONS).close();
  });

  it('N-08 a server gives its node once it listens, and before that says what to do', async () => {
    const server = new GenRpcServer(OPTIONS);
    const app = await strategyApp(server);
    expect(() => server.unwrap()).toThrow(
      'The server is not listening yet: call "listen" or "startAllMicroservices" first.',
    );
    await app.listen();
    expect(app.unwrap<GenRpcNode>()).toBeInstanceOf(GenRpcNode);
    expect(app.unwrap<GenRpcNode>().name).toBe(SERVER);
    await app.close();
  });

  it('N-08 a server tells listeners that came before listen, and its status', async () => {
    const server = new GenRpcServer(OPTIONS);
    const app = await strategyApp(server);
    const seen: unknown[] = [];
    server.status.subscribe((status) => seen.push(status));
    server.on('listening', (address) => seen.push(address));
    server.on('close', () => seen.push('close'));
    const address = await app.listen();
    await app.close();
    await app.close();
    expect(seen).toEqual(['connected', address, 'disconnected', 'close']);
    const replayed: unknown[] = [];
    server.status.subscribe((status) => replayed.push(status));
    expect(replayed).toEqual(['disconnected']);
  });

  it('does not listen at all when it is told so, and still calls', async () => {
    await using answering = await App.start(PARTS);
    const server = new GenRpcServer({
      ...OPTIONS,
      name: 'caller@127.0.0.1',
      listen: false,
      clientPort: answering.address.port,
    });
    const app = await strategyApp(server);
    await expect(app.listen()).resolves.toBeUndefined();
    const node = server.unwrap();
    await expect(node.call(SERVER, '', 'greet', ['you'])).resolves.toBe('hello you');
    await app.close();
  });
});

describe('beside HTTP', () => {
  it('N-02 connectMicroservice answers while HTTP does', async () => {
    const app = await hybrid();
    const server = new GenRpcServer(OPTIONS);
    app.connectMicroservice<MicroserviceOptions>({ strategy: server });
    await app.startAllMicroservices();
    await app.listen(0, '127.0.0.1');
    const { port } = (await portOf(server)) as Endpoint;
    await expect(greet(port)).resolves.toBe('hello you');
    const response = await fetch(`${await app.getUrl()}/greet`);
    await expect(response.text()).resolves.toBe('hello http');
    await app.close();
  });

  it("N-02 connectMicroservice answers beside Nest's own TCP", async () => {
    const app = await hybrid();
    const server = new GenRpcServer(OPTIONS);
    app.connectMicroservice<MicroserviceOptions>({ strategy: server });
    app.connectMicroservice<MicroserviceOptions>({ transport: Transport.TCP, options: { host: '127.0.0.1', port: 0 } });
    await app.startAllMicroservices();
    const { port } = (await portOf(server)) as Endpoint;
    await expect(greet(port)).resolves.toBe('hello you');
    await app.close();
  });

  it('N-05 startAllMicroservices rejects when the port is taken', async () => {
    await using taken = await App.start(PARTS);
    const app = await hybrid();
    app.connectMicroservice<MicroserviceOptions>({
      strategy: new GenRpcServer({ ...OPTIONS, listen: { port: taken.address.port } }),
    });
    await expect(app.startAllMicroservices()).rejects.toMatchObject({ code: 'EADDRINUSE' });
    await app.close();
  });

  it('N-03 the strategy may come out of the container, where GenRpcModule made it', async () => {
    const app = await hybrid({ ...PARTS, imports: [GenRpcModule.forRoot(OPTIONS)] });
    app.connectMicroservice<AsyncMicroserviceOptions>({
      inject: [GenRpcServer],
      useFactory: (strategy: GenRpcServer): MicroserviceOptions => ({ strategy }),
    });
    await app.startAllMicroservices();
    const { port } = (await portOf(app.get(GenRpcServer))) as Endpoint;
    await expect(greet(port)).resolves.toBe('hello you');
    expect(app.get(GenRpcServer).unwrap()).toBe(app.get(GenRpcNode));
    await app.close();
  });

  it('N-36 inheritAppConfig brings the global enhancers of the application', async () => {
    const app = await hybrid();
    const piped = signalOf();
    app.useGlobalPipes({
      transform: (value: unknown) => {
        piped.resolve();
        return value;
      },
    });
    const server = new GenRpcServer(OPTIONS);
    app.connectMicroservice<MicroserviceOptions>({ strategy: server }, { inheritAppConfig: true });
    await app.startAllMicroservices();
    const { port } = (await portOf(server)) as Endpoint;
    await expect(greet(port)).resolves.toBe('hello you');
    await piped.promise;
    await app.close();
  });
});

describe('a testing module', () => {
  it('N-04 a testing module makes a microservice', async () => {
    const testing = await Test.createTestingModule(PARTS)
      .overrideProvider(Words)
      .useValue({ greet: () => 'stubbed' })
      .compile();
    const app = testing.createNestMicroservice<MicroserviceOptions>({ strategy: new GenRpcServer(OPTIONS) });
    const { port } = (await app.listen()) as unknown as Endpoint;
    await expect(greet(port)).resolves.toBe('stubbed');
    await app.close();
  });

  it('N-04 a testing module makes an async microservice', async () => {
    const testing = await Test.createTestingModule({ ...PARTS, imports: [GenRpcModule.forRoot(OPTIONS)] }).compile();
    const app = testing.createNestMicroservice<AsyncMicroserviceOptions>({
      inject: [GenRpcServer],
      useFactory: (strategy: GenRpcServer): MicroserviceOptions => ({ strategy }),
    });
    const { port } = (await app.listen()) as unknown as Endpoint;
    await expect(greet(port)).resolves.toBe('hello you');
    await app.close();
  });
});

/** `startAllMicroservices` keeps the address to itself; a node that listens already says it again. */
function portOf(server: GenRpcServer): Promise<Endpoint | undefined> {
  return server.unwrap().listen();
}

/** May this process give up for a moment what lets it listen at port 80? */
function canDropPrivileges(): boolean {
  if (process.platform !== 'linux' || process.geteuid?.() !== 0) return false;
  return Number(readFileSync('/proc/sys/net/ipv4/ip_unprivileged_port_start', 'utf8')) > 80;
}
