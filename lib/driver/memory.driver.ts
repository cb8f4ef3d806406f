/** Channels inside one process: a network whose delays and cuts a test decides. */
import { GenRpcError } from '../protocol/errors.js';
import type { Clock, Timer } from '../ports/clock.js';
import type { Channel, ChannelEvents, Driver, Endpoint, Listener } from './driver.js';
import { MemoryRoutes } from './memory-routes.js';
import { MemoryWay, type LineOptions } from './memory-way.js';

/** What its lines are like. */
export type MemoryNetworkOptions = LineOptions;

interface Listening {
  onChannel(channel: Channel): void;
}

/** Listeners and links by host and port. Nodes share a network by sharing this object. */
export class MemoryNetwork {
  /** Both ends of every open channel, oldest first. */
  readonly links = new Set<MemoryLink>();
  private readonly listening = new Map<string, Listening>();
  private readonly routes = new MemoryRoutes();
  /** Attempts to connect that wait for the end of a partition. */
  private readonly stranded = new Set<() => void>();
  private nextPort = 50_000;

  constructor(
    readonly clock: Clock,
    readonly options: MemoryNetworkOptions = {},
  ) {}

  /** A driver for a node at `host`, which is what peers see as its address. */
  driver(host: string, name = 'memory'): Driver {
    return {
      name,
      connect: (endpoint, signal) => this.connect(host, endpoint, signal),
      listen: async (endpoint, onChannel) => this.listen(endpoint, onChannel),
    };
  }

  /** From now on every delivery between two hosts takes `ms` more, both ways; 0: no longer. */
  delay(one: string, other: string, ms: number): void {
    this.routes.delay(one, other, ms);
  }

  /** Every connection between two hosts is lost, as `MemoryLink.cut`; they may connect again. */
  cut(one: string, other: string): void {
    for (const link of this.links) if (link.isBetween(one, other)) link.cut();
  }

  /**
   * Hosts of different groups no longer reach each other, and nobody tells them: what they send waits, attempts to
   * connect too, until `heal`, or until somebody gives up. Hosts in no group reach everyone.
   */
  partition(...groups: (readonly string[])[]): void {
    this.heal();
    this.routes.partition(groups);
    for (const link of this.links) if (this.routes.areApart(link.from, link.to)) link.hold();
  }

  /** Everyone reaches everyone: what waited goes on its way. */
  heal(): void {
    for (const link of this.links) if (this.routes.areApart(link.from, link.to)) link.release();
    this.routes.partition([]);
    const { stranded } = this;
    const attempts = [...stranded];
    stranded.clear();
    for (const attempt of attempts) attempt();
  }

  /** ms that a delivery from one host to another takes now; `undefined`: it comes with the turn's end. */
  latencyBetween(from: string, to: string): number | undefined {
    const [line, delay] = [this.options.latency?.(), this.routes.delayBetween(from, to)];
    return line === undefined ? delay : line + (delay ?? 0);
  }

  private listen(endpoint: Endpoint, onChannel: (channel: Channel) => void): Listener {
    const address = { host: endpoint.host, port: endpoint.port === 0 ? this.nextPort++ : endpoint.port };
    const name = nameOf(address);
    if (this.listening.has(name)) throw systemError('EADDRINUSE', `${name} is in use`);
    this.listening.set(name, { onChannel });
    return { address, close: async () => void this.listening.delete(name) };
  }

  private connect(host: string, endpoint: Endpoint, signal: AbortSignal): Promise<Channel> {
    return new Promise((resolve, reject) => {
      const fail = (code: string): void => {
        const message = `Cannot connect to ${nameOf(endpoint)} (${code}).`;
        reject(new GenRpcError('node_down', message, { details: { cause: code, ...endpoint } }));
      };
      let underWay: Timer | undefined;
      const onAbort = (): void => {
        underWay?.cancel();
        fail('ETIMEDOUT');
      };
      if (signal.aborted) return onAbort();
      signal.addEventListener('abort', onAbort, { once: true });
      const arrive = (): void => {
        if (signal.aborted) return;
        if (this.routes.areApart(host, endpoint.host)) return this.strand(arrive, signal);
        signal.removeEventListener('abort', onAbort);
        const listener = this.listening.get(nameOf(endpoint));
        if (listener === undefined) return fail('ECONNREFUSED');
        const link = new MemoryLink(this, host, endpoint.host);
        this.links.add(link);
        listener.onChannel(link.accepted);
        resolve(link.dialled);
      };
      const latency = this.latencyBetween(host, endpoint.host);
      if (latency === undefined) this.clock.soon(arrive);
      else underWay = this.clock.after(latency, arrive, true);
    });
  }

  private strand(attempt: () => void, signal: AbortSignal): void {
    this.stranded.add(attempt);
    signal.addEventListener('abort', () => this.stranded.delete(attempt), { once: true });
  }
}

function nameOf({ host, port }: Endpoint): string {
  return `${host}:${port}`;
}

function systemError(code: string, message: string): Error {
  return Object.assign(new Error(message), { code });
}

/** One connection of the network, and what may go wrong with it. */
export class MemoryLink {
  readonly dialled: Channel;
  readonly accepted: Channel;
  private readonly ends: readonly [MemoryChannel, MemoryChannel];

  constructor(
    private readonly network: MemoryNetwork,
    readonly from: string,
    readonly to: string,
  ) {
    this.ends = [
      new MemoryChannel(network, from, to, () => this.forget()),
      new MemoryChannel(network, to, from, () => this.forget()),
    ];
    [this.dialled, this.accepted] = this.ends;
    this.ends[0].peer = this.ends[1];
    this.ends[1].peer = this.ends[0];
  }

  isBetween(one: string, other: string): boolean {
    return (this.from === one && this.to === other) || (this.from === other && this.to === one);
  }

  /** Both ends are lost at once, with what is under way. */
  cut(code = 'ECONNRESET'): void {
    const reason = new GenRpcError('connection_lost', `The connection broke (${code}).`, { details: { cause: code } });
    for (const end of this.ends) end.end(reason);
  }

  /** Holds everything back, both ways, until `release`; neither end notices. */
  hold(): void {
    for (const end of this.ends) end.hold();
  }

  release(): void {
    for (const end of this.ends) end.release();
  }

  private forget(): void {
    if (!this.ends.every((end) => end.isClosed)) return;
    this.network.links.delete(this);
    for (const end of this.ends) end.forget();
  }
}

/** A flush that takes longer is cut short. */
const CLOSE_TIMEOUT_MS = 5000;

const BINDING = new Uint8Array(32).fill(1);

class MemoryChannel implements Channel {
  readonly channelBinding = BINDING;
  readonly certificate = undefined;
  peer: MemoryChannel | undefined;
  private readonly way: MemoryWay;
  private closeTimer: Timer | undefined;
  private events: ChannelEvents | undefined;
  private unread: Buffer[] = [];
  private reason: GenRpcError | undefined;

  constructor(
    private readonly network: MemoryNetwork,
    localAddress: string,
    readonly remoteAddress: string,
    private readonly onEnd: () => void,
  ) {
    const latency = (): number | undefined => network.latencyBetween(localAddress, remoteAddress);
    this.way = new MemoryWay(network.clock, { ...network.options, latency }, (bytes) => this.peer?.receive(bytes));
  }

  get isClosed(): boolean {
    return this.reason !== undefined;
  }

  get queuedBytes(): number {
    return this.way.queuedBytes;
  }

  open(events: ChannelEvents): void {
    this.events = events;
    const { unread, reason } = this;
    this.unread = [];
    for (const bytes of unread) events.data(bytes);
    if (reason !== undefined) events.closed(reason);
  }

  send(chunks: readonly Uint8Array[]): boolean {
    if (this.isClosed || this.closeTimer !== undefined) return false;
    this.way.send(Buffer.concat(chunks));
    if (!this.way.isBusy) return true;
    this.way.whenEmpty(() => this.events?.drain());
    return false;
  }

  close(): void {
    if (this.isClosed || this.closeTimer !== undefined) return;
    this.closeTimer = this.network.clock.after(CLOSE_TIMEOUT_MS, () => this.abort(lost()));
    this.way.whenEmpty(() => {
      this.way.signal(() => this.peer?.end(lost()));
      this.finish(lost());
    });
  }

  abort(reason: GenRpcError): void {
    if (this.isClosed) return;
    this.way.drop();
    this.way.signal(() => this.peer?.end(lost()));
    this.finish(reason);
  }

  keepAlive(): void {}

  hold(): void {
    this.way.hold();
  }

  release(): void {
    this.way.release();
  }

  /** The other end has gone, or the line. */
  end(reason: GenRpcError): void {
    if (this.isClosed) return;
    this.way.drop();
    this.finish(reason);
  }

  /** Neither end is used any more. */
  forget(): void {
    this.way.end();
  }

  private finish(reason: GenRpcError): void {
    this.reason = reason;
    this.closeTimer?.cancel();
    this.onEnd();
    this.events?.closed(reason);
  }

  private receive(bytes: Buffer): void {
    if (this.isClosed) return;
    if (this.events === undefined) this.unread.push(bytes);
    else this.events.data(bytes);
  }
}

function lost(): GenRpcError {
  return new GenRpcError('connection_lost', 'The peer closed the connection.');
}
