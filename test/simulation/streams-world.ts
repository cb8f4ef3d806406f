/** Three nodes with streams both ways, for `streams.spec.ts`: what they ask of each other, and what goes wrong between them. */
import type { Cancel, ItemSource, ReplySink } from '../../lib/client/pending-calls.js';
import type { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import { isGenRpcError, type GenRpcError } from '../../lib/protocol/errors.js';
import { SeededRandom } from '../../lib/testing/seeded-random.js';
import type { VirtualClock } from '../../lib/testing/virtual-clock.js';
import { Cluster, type NodeSettings } from '../support/cluster.js';
import { Planner, type Deed, type Plan, type Verb } from './streams-deed.js';
import { Functions } from './streams-functions.js';
import { Producer, Reader, isValue, valueOf } from './streams-items.js';

export const NAMES = ['a', 'b', 'c'] as const;

/** One process of a node. */
export interface Life {
  readonly node: GenRpcNode;
  readonly number: number;
  /** Nothing is asked of it any more. */
  over: boolean;
  ended: boolean;
}

/** Bytes in a ms. */
const LINES = [undefined, 150, 400, 400, 4000] as const;

export class World {
  readonly cluster: Cluster;
  readonly clock: VirtualClock;
  readonly random: SeededRandom;
  readonly deeds: Deed[] = [];
  readonly lives: Life[] = [];
  readonly faults: string[] = [];
  readonly trace: string[] = [];
  /** Nodes drain now and then, and nothing else goes wrong: what was begun must end well. */
  readonly calm: boolean;
  readonly planner: Planner;
  private readonly functions: Functions;

  constructor(readonly seed: number) {
    this.random = new SeededRandom(seed * 7919);
    this.calm = seed % 3 === 0;
    const bandwidth = LINES[this.random.below(LINES.length)];
    this.cluster = new Cluster({
      virtual: { seed, bandwidth, latency: latencyOf, segment: (random) => segmentOf(random, bandwidth) },
    });
    if (this.cluster.clock === undefined) throw new Error('a simulation has a clock');
    this.clock = this.cluster.clock;
    this.planner = new Planner(this.random);
    this.functions = new Functions(this);
  }

  get living(): Life[] {
    return this.lives.filter(({ over }) => !over);
  }

  note(what: string): void {
    this.trace.push(`${this.clock.now().toFixed(2)} ${what}`);
  }

  async begin(name: string): Promise<void> {
    const { seed, calm } = this;
    const rough: NodeSettings = {
      sendTimeout: seed % 2 === 0 ? 600 : 5000,
      ...(seed % 5 === 0 ? { keepalive: { idle: 150, interval: 300, count: 2 } } : {}),
      serverInactivityTimeout: seed % 7 === 0 ? 250 : Infinity,
      clientInactivityTimeout: seed % 11 === 0 ? 150 : Infinity,
    };
    const node = await this.cluster.start(name, {
      ...{ callTimeout: 400, maxMessageBytes: 300_000, reconnect: { min: 20, max: 200 }, retry: false },
      castLanes: seed % 4 === 0 ? 'separate' : 'shared',
      // Of one life: a process that ends and the one that follows it are no strangers to each other.
      ...(calm || seed % 2 === 0 ? { life: name.charAt(0) } : {}),
      ...(calm ? {} : rough),
    });
    const life: Life = { node, number: this.lives.length, over: false, ended: false };
    this.lives.push(life);
    this.functions.register(life);
    this.note(`${name} is ${life.number}`);
  }

  async step(): Promise<void> {
    const dice = this.random.fraction();
    if (dice < 0.55) this.ask(this.planner.verb());
    else if (dice < 0.72) this.casts(1 + this.random.below(5));
    else if (dice < 0.8) this.someLink('hold');
    else if (dice < 0.88) this.someLink('release');
    else if (dice < 0.92) await this.restart();
    else if (!this.calm && dice < 0.97) this.someLink('cut');
    else if (!this.calm && dice < 0.98) await this.clock.advance(this.random.below(1500));
  }

  releaseAll(): void {
    for (const link of this.cluster.network.links) link.release();
  }

  /** Streams both ways between all that live: whatever was left behind is in their way. */
  probe(): void {
    const { living } = this;
    living.forEach((life, at) => {
      const to = living[(at + 1) % living.length]?.node.name ?? '';
      for (const verb of ['stream', 'upload', 'ordered'] as const) {
        const deed = this.deed(verb, life, to, this.planner.probe(), true);
        if (verb === 'ordered') this.cast(deed, life);
        else this.start(deed, life);
      }
      if (at === 0) this.start(this.deed('stream', life, to, this.planner.leaving(), true), life);
    });
  }

  private ask(verb: Verb): void {
    const life = this.pick();
    const to = `${NAMES[this.random.below(NAMES.length)] ?? 'a'}@127.0.0.1`;
    this.start(this.deed(verb, life, to, this.planner.plan()), life);
  }

  private start(deed: Deed, { node }: Life): void {
    const { verb, plan, id, to } = deed;
    const streamed = verb === 'upload' || verb === 'echo' || verb === 'cross';
    if (streamed) deed.request = new Producer(4 * id + 1, plan.request, this.clock);
    const args = [
      id,
      valueOf(plan.argument, 4 * id + 2, 0),
      ...(deed.request === undefined ? [] : [deed.request.start()]),
    ];
    const giveUp = new AbortController();
    const options = { timeout: plan.timeout, waitForReady: deed.probe, signal: giveUp.signal };
    if (plan.cancelAt !== undefined) {
      this.clock.after(plan.cancelAt, () => {
        if (deed.settled === 0) this.note(`${id} is given up`);
        giveUp.abort();
      });
    }
    const { reader } = deed;
    if (reader === undefined) this.single(deed, node, args, options);
    else if (plan.by === 'sink') new StreamSink(this, deed, reader).start(node, args, options);
    else {
      const items = node.stream(to, 'sim', verb, args, options);
      void reader.read(items).then(() => this.settleBy(deed, reader));
    }
  }

  private single(deed: Deed, node: GenRpcNode, args: unknown[], options: Options): void {
    const { verb, to, plan, id } = deed;
    const onValue = (value: unknown): void => {
      const right =
        verb === 'upload' ? value === (deed.runs[0]?.reader?.got ?? -1) : isValue(value, plan.answer, 4 * id + 3, 0);
      if (!right) deed.wrongAnswer = true;
      this.settle(deed, 'ok', true, '');
    };
    const onError = (error: unknown): void => this.settleWith(deed, error);
    if (plan.by === 'promise') return void node.call(to, 'sim', verb, args, options).then(onValue, onError);
    const stream = deed.request === undefined ? undefined : (args.pop() as never);
    const name = node.functionName('sim', verb);
    const invocation = { name, args, single: false, stream, headers: undefined };
    node.request({ node: to }, invocation, options, { item() {}, done: onValue, failed: onError });
  }

  settleBy(deed: Deed, { end, error }: Reader): void {
    if (end === 'error') this.settleWith(deed, error);
    else this.settle(deed, end === 'clean' ? 'ok' : 'left', true, '');
  }

  settleWith(deed: Deed, error: unknown): void {
    if (!isGenRpcError(error)) this.faults.push(`${deed.id} failed with ${String(error)}`);
    else this.settle(deed, error.code, error.maybeExecuted, error.message);
  }

  settle(deed: Deed, result: string, maybeExecuted: boolean, message: string): void {
    deed.settled += 1;
    deed.settledAt = this.clock.now();
    deed.result = result;
    deed.maybeExecuted = maybeExecuted;
    deed.message = message;
    this.note(`${deed.id} ${deed.verb} settles: ${result} ${message}`);
  }

  private casts(count: number): void {
    const life = this.pick();
    const to = `${NAMES[this.random.below(NAMES.length)] ?? 'a'}@127.0.0.1`;
    const verb = this.random.fraction() < 0.3 ? 'cast' : 'ordered';
    for (let one = 0; one < count; one += 1) this.cast(this.deed(verb, life, to, this.planner.plan()), life);
  }

  private cast(deed: Deed, { node }: Life): void {
    const { verb, to, id, plan } = deed;
    const args = [id, valueOf(plan.argument, 4 * id + 2, 0)];
    deed.accepted = node.cast(to, 'sim', verb, args, { ordered: verb === 'ordered' });
    this.note(`${id} is ${deed.accepted ? '' : 'not '}accepted`);
  }

  private deed(verb: Verb, from: Life, to: string, plan: Plan, probe = false): Deed {
    const id = this.deeds.length;
    const deed: Deed = {
      ...{ id, verb, plan, to, probe, from: from.number, beganAt: this.clock.now(), runs: [] },
      ...{ request: undefined, reader: undefined, settled: 0, settledAt: 0, result: '', maybeExecuted: false },
      ...{ message: '', accepted: false, wrongAnswer: false, afterwards: 0 },
    };
    if (verb === 'stream' || verb === 'echo' || verb === 'cross') {
      const reply = new Producer(4 * id, verb === 'echo' ? plan.request : plan.reply, this.clock);
      deed.reader = new Reader(reply, plan.caller, this.clock, deed.beganAt + plan.timeout);
    }
    this.deeds.push(deed);
    this.note(`${id} ${verb} from ${from.number} to ${to}, ${plan.timeout} ms`);
    return deed;
  }

  private async restart(): Promise<void> {
    const life = this.pick();
    const { node } = life;
    life.over = true;
    const how = this.calm ? 3 : this.random.below(4);
    this.note(`${life.number} ${['aborts', 'closes', 'drains for 100 ms', 'drains'][how]}`);
    if (how === 0) node.abort();
    const ended = how < 2 ? node.close() : node.drain(how === 2 ? 100 : 60_000);
    void ended.then(() => {
      life.ended = true;
      this.note(`${life.number} has ended`);
    });
    if (this.random.fraction() < 0.5) await this.clock.advance(this.random.below(100));
    await this.begin(node.name);
  }

  private pick(): Life {
    const { living } = this;
    const life = living[this.random.below(living.length)];
    if (life === undefined) throw new Error('there are three nodes');
    return life;
  }

  private someLink(what: 'hold' | 'release' | 'cut'): void {
    const links = [...this.cluster.network.links];
    const at = this.random.below(Math.max(1, links.length));
    this.note(`link ${at} of ${links.length}: ${what}`);
    links[at]?.[what]();
  }
}

interface Options {
  readonly timeout: number;
  readonly waitForReady: boolean;
  readonly signal: AbortSignal;
}

/** A caller that keeps what comes, and says now and then that it has used some. */
class StreamSink implements ReplySink {
  private cancel: Cancel = () => false;
  private over = false;

  constructor(
    private readonly world: World,
    private readonly deed: Deed,
    private readonly reader: Reader,
  ) {}

  start(node: GenRpcNode, args: unknown[], options: Options): void {
    const { deed, world } = this;
    const { caller } = deed.plan;
    const stream = deed.request === undefined ? undefined : (args.pop() as never);
    const invocation = { name: node.functionName('sim', deed.verb), args, single: false, stream, headers: undefined };
    const { signal, ...rest } = options;
    // One that gives up by what `request` returns hears nothing more; one with a signal does.
    const given = caller.leaveAt === undefined ? options : rest;
    this.cancel = node.request({ node: deed.to }, invocation, given, this);
    if (caller.leaveAt === undefined) return;
    world.clock.after(caller.leaveAt, () => this.leave());
    signal.addEventListener('abort', () => this.leave());
  }

  item(value: unknown, cost: number, from: ItemSource): 'kept' {
    const { reader, world } = this;
    if (this.over) this.deed.afterwards += 1;
    const { delay } = reader;
    reader.take(value);
    if (delay === 0) from.used(cost);
    else world.clock.after(delay, () => from.used(cost));
    return 'kept';
  }

  done(value: unknown): void {
    if (value !== undefined) this.reader.take(value);
    this.end('clean');
  }

  failed(error: GenRpcError): void {
    this.reader.error = error;
    this.end('error');
  }

  private leave(): void {
    if (this.over) return;
    this.cancel();
    this.end('left');
  }

  private end(end: 'clean' | 'left' | 'error'): void {
    if (this.over) this.deed.afterwards += 1;
    this.over = true;
    this.reader.end = end;
    this.world.settleBy(this.deed, this.reader);
  }
}

/** Most deliveries take a few ms, and now and then one is held up for longer than a new connection takes. */
function latencyOf(random: SeededRandom): number {
  return random.fraction() < 0.02 ? 100 : 1 + random.below(15);
}

/** None takes so long to leave that its line seems dead. */
function segmentOf(random: SeededRandom, bandwidth = Infinity): number {
  const dice = random.fraction();
  if (dice < 0.1) return 1 + random.below(30);
  return Math.min(50 * bandwidth, dice < 0.4 ? 1 + random.below(3000) : 16_000 + random.below(50_000));
}
