/** Much of everything through two applications: a gigabyte for a slow reader, a hundred thousand calls, many that fail. */
import { once } from 'node:events';
import { Controller } from '@nestjs/common';
import { Ctx, MessagePattern, Payload } from '@nestjs/microservices';
import { firstValueFrom } from 'rxjs';
import { describe, expect, it } from 'vitest';
import { GenRpcContext } from '../../lib/nest/gen-rpc.context.js';
import { GenRpcRecordBuilder } from '../../lib/nest/gen-rpc.record-builder.js';
import { collectGarbage, heldBytes } from '../support/heap.js';
import { until } from '../support/door.js';
import { pairOf, type Pair } from './support.js';
import { settled } from './streams-support.js';

const MB = 1024 * 1024;
const ITEM = 128 * 1024;
const COUNT = (1024 * MB) / ITEM;

@Controller()
class Large {
  made = 0;
  returned = 0;

  @MessagePattern('large')
  async *large(@Payload() count: number): AsyncGenerator<Buffer> {
    try {
      for (; this.made < count; this.made += 1) {
        const item = Buffer.alloc(ITEM);
        item.writeUInt32BE(this.made);
        yield item;
      }
    } finally {
      this.returned += 1;
    }
  }

  @MessagePattern('add')
  add(@Payload() [a, b]: [number, number]): number {
    return a + b;
  }

  /** Until nobody waits any more. */
  @MessagePattern('never')
  async never(@Ctx() context: GenRpcContext): Promise<void> {
    const signal = context.getSignal();
    if (!signal.aborted) await once(signal, 'abort');
  }
}

describe('a slow reader', () => {
  it('N-59 of 1 GB has it in order, and neither side holds more than a few MB', { timeout: 120_000 }, async () => {
    await using pair = await pairOf({ controllers: [Large] }, { callTimeout: 110_000 });
    const { app, caller } = pair;
    const producer = app.get(Large);
    const before = await heldBytes();
    let read = 0;
    let ahead = 0;
    let most = 0;
    for await (const item of caller.stream<Buffer>('large', COUNT)) {
      if (item.readUInt32BE() !== read || item.length !== ITEM) expect.fail(`item ${read} is another`);
      read += 1;
      ahead = Math.max(ahead, producer.made - read);
      if (read % (COUNT / 8) !== 0) continue;
      // It stands still, for as long as it takes until nothing moves any more.
      await settled(() => producer.made);
      most = Math.max(most, (await heldBytes()) - before);
    }
    expect(read).toBe(COUNT);
    expect(producer.returned).toBe(1);
    expect(ahead * ITEM).toBeLessThan(16 * MB);
    expect(most).toBeLessThan(32 * MB);
  });

  it('N-60 that leaves early has the generator return, in the middle of what it makes', async () => {
    await using pair = await pairOf({ controllers: [Large] });
    const producer = pair.app.get(Large);
    for await (const item of pair.caller.stream<Buffer>('large', COUNT)) if (item.readUInt32BE() === 9) break;
    await until(() => producer.returned === 1);
    const { made } = producer;
    expect(made).toBeLessThan(COUNT / 8);
    await until(() => pair.node.stats().runningCalls === 0);
    expect(producer.made).toBe(made);
  });
});

describe('many messages', () => {
  const AT_ONCE = 1000;

  async function adds(pair: Pair, rounds: number): Promise<void> {
    for (let round = 0; round < rounds; round += 1) {
      const sums = Array.from({ length: AT_ONCE }, (_, n) =>
        firstValueFrom(pair.caller.send<number>('add', [n, round])),
      );
      expect((await Promise.all(sums)).every((sum, n) => sum === n + round)).toBe(true);
    }
  }

  async function timeouts(pair: Pair, rounds: number): Promise<void> {
    for (let round = 0; round < rounds; round += 1) {
      const record = new GenRpcRecordBuilder({}).setTimeout(20).build();
      const replies = Array.from({ length: AT_ONCE }, () => firstValueFrom(pair.caller.send('never', record)));
      for (const outcome of await Promise.allSettled(replies)) {
        expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'timeout' } });
      }
    }
  }

  it('N-61 100,000 of them, and 10,000 that are out of time, leave nothing behind', { timeout: 120_000 }, async () => {
    await using pair = await pairOf(
      { controllers: [Large], options: { concurrency: { loopDelay: Infinity } } },
      { callTimeout: 60_000 },
    );
    const rest = async (): Promise<void> => {
      await until(() => pair.node.stats().runningCalls === 0);
      expect(pair.caller.unwrap().stats()).toMatchObject({ pendingCalls: 0, openConnections: 1 });
      collectGarbage();
    };
    await adds(pair, 10);
    await timeouts(pair, 1);
    await rest();
    const before = await heldBytes();
    await adds(pair, 100);
    await timeouts(pair, 10);
    await rest();
    // A call that were kept would weigh a hundred bytes at the least: 11 MB in all.
    expect((await heldBytes()) - before).toBeLessThan(4 * MB);
    expect(pair.caller.unwrap().stats().counts).toEqual({ dialled: 1, connected: 1 });
  });
});
