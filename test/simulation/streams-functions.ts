/** What the nodes of `streams-world.ts` do for each other. */
import { GenRpcError, isGenRpcError } from '../../lib/protocol/errors.js';
import type { ItemQueue } from '../../lib/connection/item-queue.js';
import type { CallContext } from '../../lib/server/module-registry.js';
import type { Deed, Run } from './streams-deed.js';
import { isValue, pause, Producer, Reader, valueOf } from './streams-items.js';
import type { Life, World } from './streams-world.js';

type Args = [id: number, argument: unknown, items: ItemQueue];

export class Functions {
  /** Ordered casts that run, by line. */
  private readonly running = new Set<string>();

  constructor(private readonly world: World) {}

  register(life: Life): void {
    life.node.register('sim', {
      call: (args: Args, context) => this.call(life, args, context),
      stream: (args: Args, context) => this.stream(life, args, context),
      upload: (args: Args, context) => this.upload(life, args, context),
      echo: (args: Args, context) => this.echo(life, args, context),
      cross: (args: Args, context) => this.cross(life, args, context),
      cast: (args: Args, context) => this.work(...this.begin(life, args, context)),
      ordered: (args: Args, context) => this.ordered(life, args, context),
    });
  }

  private begin(life: Life, [id, argument]: Args, context: CallContext): [Deed, Run] {
    const { world } = this;
    const deed = world.deeds[id];
    if (deed === undefined) throw new Error(`there is no deed ${id}`);
    const run: Run = {
      ...{ life: life.number, beganAt: world.clock.now(), abortedAt: undefined, abortedBy: undefined },
      ...{ ended: undefined, endedAt: 0, producer: undefined, reader: undefined },
    };
    deed.runs.push(run);
    world.note(`${id} runs at ${life.number}`);
    if (!isValue(argument, deed.plan.argument, 4 * id + 2, 0)) world.faults.push(`${id} got another argument`);
    if (life.node.name !== deed.to) world.faults.push(`${id} came to ${life.node.name}`);
    if (deed.plan.heeds) {
      context.signal.addEventListener('abort', () => {
        const { reason } = context.signal as { reason: unknown };
        run.abortedAt = world.clock.now();
        run.abortedBy = isGenRpcError(reason) ? reason.code : String(reason);
        world.note(`${id} is aborted: ${run.abortedBy}`);
      });
    }
    return [deed, run];
  }

  private end(deed: Deed, run: Run, ended: 'value' | 'threw'): void {
    run.ended = ended;
    run.endedAt = this.world.clock.now();
    this.world.note(`${deed.id} ends: ${ended}`);
  }

  private async call(life: Life, args: Args, context: CallContext): Promise<unknown> {
    const [deed, run] = this.begin(life, args, context);
    if (deed.plan.work === 'never') {
      await new Promise<void>((resolve) => context.signal.addEventListener('abort', () => resolve()));
      this.end(deed, run, 'threw');
      throw new Error('told to stop');
    }
    await this.work(deed, run);
    return valueOf(deed.plan.answer, 4 * deed.id + 3, 0);
  }

  private async work(deed: Deed, run: Run): Promise<void> {
    const { work, throws } = deed.plan;
    if (typeof work === 'number' && work > 0) await pause(this.world.clock, work);
    this.end(deed, run, throws ? 'threw' : 'value');
    if (throws) throw new GenRpcError('handler_failed', 'as planned');
  }

  private async ordered(life: Life, args: Args, context: CallContext): Promise<void> {
    const [deed, run] = this.begin(life, args, context);
    const line = `${deed.from} to ${life.number}`;
    if (this.running.has(line)) this.world.faults.push(`${deed.id} began beside another of ${line}`);
    this.running.add(line);
    await this.work(deed, run).finally(() => this.running.delete(line));
  }

  private stream(life: Life, args: Args, context: CallContext): unknown {
    const [deed, run] = this.begin(life, args, context);
    run.producer = new Producer(4 * deed.id, deed.plan.reply, this.world.clock);
    this.end(deed, run, 'value');
    const items = run.producer.start();
    const { work } = deed.plan;
    return typeof work === 'number' && work > 0 ? pause(this.world.clock, work).then(() => items) : items;
  }

  private async upload(life: Life, args: Args, context: CallContext): Promise<number> {
    const [deed, run] = this.begin(life, args, context);
    const reader = this.readerOf(deed, run);
    if (deed.plan.serverReads === 'subscribes') await reader.subscribe(args[2]);
    else await reader.read(args[2]);
    this.end(deed, run, reader.end === 'error' ? 'threw' : 'value');
    if (reader.end === 'error') throw reader.error;
    return reader.got;
  }

  private async *echo(life: Life, args: Args, context: CallContext): AsyncGenerator<unknown> {
    const [deed, run] = this.begin(life, args, context);
    const reader = this.readerOf(deed, run);
    const producer = (run.producer = new Producer(4 * deed.id, deed.plan.request, this.world.clock));
    producer.begun = true;
    try {
      for await (const _ of reader.each(args[2])) {
        const item = producer.itemAt(producer.made);
        if (item !== undefined) yield valueOf(item, producer.stream, producer.made++);
      }
      if (reader.end === 'error') throw reader.error;
      producer.complete = true;
    } finally {
      producer.over = true;
      this.end(deed, run, producer.complete ? 'value' : 'threw');
    }
  }

  /** What it reads has nothing to do with what it says. */
  private cross(life: Life, args: Args, context: CallContext): unknown {
    const [deed, run] = this.begin(life, args, context);
    const reader = this.readerOf(deed, run);
    run.producer = new Producer(4 * deed.id, deed.plan.reply, this.world.clock);
    this.end(deed, run, 'value');
    void (deed.plan.serverReads === 'subscribes' ? reader.subscribe(args[2]) : reader.read(args[2]));
    return run.producer.start();
  }

  private readerOf(deed: Deed, run: Run): Reader {
    const request = deed.request;
    if (request === undefined) throw new Error(`${deed.id} sends no items`);
    return (run.reader = new Reader(request, deed.plan.server, this.world.clock, Infinity));
  }
}
