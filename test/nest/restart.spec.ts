/** Applications that are started a second time in one process, as hot reload does: it works, or says what is in the way. */
import { Controller } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { MessagePattern, type MicroserviceOptions } from '@nestjs/microservices';
import { firstValueFrom } from 'rxjs';
import { describe, expect, it } from 'vitest';
import { GenRpcServer } from '../../lib/nest/gen-rpc.server.js';
import { App, CapturedLogger, moduleOf, SECRET, SERVER } from './support.js';

@Controller()
class Greeting {
  @MessagePattern('greet')
  greet(): string {
    return 'hello';
  }
}

const PARTS = { controllers: [Greeting] };
const QUIET = { logger: new CapturedLogger(), abortOnError: false } as const;
const TOLD_BEFORE = `${SERVER} was told to listen before`;

async function expectGreeting(app: App): Promise<void> {
  await expect(firstValueFrom(app.client().send('greet', {}))).resolves.toBe('hello');
}

describe('a second start in one process', () => {
  it('X-09 of an application that listens is an error, and it goes on as before', async () => {
    await using app = await App.start(PARTS);
    await expect(app.app.listen()).rejects.toThrow(TOLD_BEFORE);
    await expectGreeting(app);
    expect(app.node.endpoints()).toHaveLength(1);
  });

  it('X-09 of an application that has not come to listen yet is one too', async () => {
    const strategy = new GenRpcServer({ name: SERVER, secret: SECRET, listen: { port: 0 } });
    const app = await NestFactory.createMicroservice<MicroserviceOptions>(moduleOf(PARTS), { strategy, ...QUIET });
    // Nest 11 lets the second one overtake the first.
    const both = await Promise.allSettled([app.listen(), app.listen()]);
    const rejected = { status: 'rejected', reason: { message: expect.stringContaining(TOLD_BEFORE) as string } };
    expect(both.toSorted((one, other) => one.status.localeCompare(other.status))).toMatchObject([
      { status: 'fulfilled' },
      rejected,
    ]);
    await app.close();
  });

  it('X-09 by a second startAllMicroservices is an error', async () => {
    const http = await NestFactory.create(moduleOf(PARTS), QUIET);
    const strategy = new GenRpcServer({ name: SERVER, secret: SECRET, listen: { port: 0 } });
    http.connectMicroservice<MicroserviceOptions>({ strategy });
    await http.startAllMicroservices();
    await expect(http.startAllMicroservices()).rejects.toThrow(TOLD_BEFORE);
    await http.close();
  });

  it('X-09 with the strategy of an application that was closed is an error', async () => {
    const app = await App.start(PARTS);
    await app[Symbol.asyncDispose]();
    const again = await NestFactory.createMicroservice<MicroserviceOptions>(moduleOf(PARTS), {
      strategy: app.server,
      ...QUIET,
    });
    await expect(again.listen()).rejects.toThrow(TOLD_BEFORE);
    await again.close();
  });

  it('X-09 of another application at the place of one that was not closed names the place', async () => {
    await using app = await App.start(PARTS);
    const { port } = app.address;
    const reloaded = App.start({ ...PARTS, options: { listen: { port } } });
    await expect(reloaded).rejects.toMatchObject({
      code: 'EADDRINUSE',
      message: expect.stringContaining(`127.0.0.1:${port}`) as string,
    });
    await expectGreeting(app);
  });

  it('X-09 at the place of one that was closed works, again and again', async () => {
    let port = 0;
    for (let round = 0; round < 5; round += 1) {
      await using app = await App.start({ ...PARTS, options: { listen: { port } } });
      if (round > 0) expect(app.address.port).toBe(port);
      port = app.address.port;
      await expectGreeting(app);
    }
  });

  it('X-09 that failed may be made again with the same strategy, once the place is free', async () => {
    const taken = await App.start(PARTS);
    const listen = { port: taken.address.port };
    const strategy = new GenRpcServer({ name: SERVER, secret: SECRET, listen });
    const app = await NestFactory.createMicroservice<MicroserviceOptions>(moduleOf(PARTS), { strategy, ...QUIET });
    await expect(app.listen()).rejects.toMatchObject({ code: 'EADDRINUSE' });
    await taken[Symbol.asyncDispose]();
    await expect(app.listen()).resolves.toMatchObject(listen);
    await app.close();
  });
});
