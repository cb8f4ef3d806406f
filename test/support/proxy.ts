/** A TCP proxy between two nodes, that loses, holds, slices and cuts as a test says. */
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';

export type Direction = 'up' | 'down';

export class ProxyLink {
  /** Bytes passed on so far. */
  readonly passed: Record<Direction, number> = { up: 0, down: 0 };

  constructor(
    readonly client: Socket,
    readonly server: Socket,
  ) {}

  /** A reset on both sides. */
  reset(): void {
    this.client.resetAndDestroy();
    this.server.resetAndDestroy();
  }

  /** An orderly end on both sides. */
  end(): void {
    this.client.end();
    this.server.end();
  }
}

export interface ProxySettings {
  /** Cuts what passes into pieces of this size, each in a write of its own; `undefined`: as it comes. */
  slice?: (() => number) | undefined;
  /** Called before bytes of a direction are passed on; returns how many of them may pass (the rest is lost). */
  allow?: ((link: ProxyLink, direction: Direction, bytes: number) => number) | undefined;
  /** Called with the bytes that are about to pass; what it returns passes instead. */
  alter?: ((link: ProxyLink, direction: Direction, bytes: Buffer) => Buffer) | undefined;
}

export class Proxy {
  readonly links: ProxyLink[] = [];
  private held = false;
  private endsHeld = false;
  private readonly lost = new Set<Direction>();
  private readonly waiting: (() => void)[] = [];

  private constructor(
    private readonly listener: Server,
    readonly port: number,
    readonly settings: ProxySettings,
  ) {}

  static async to(target: { port: number }, settings: ProxySettings = {}): Promise<Proxy> {
    const listener = createServer();
    await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
    const proxy = new Proxy(listener, (listener.address() as AddressInfo).port, settings);
    listener.on('connection', (client) => proxy.link(client, target.port));
    return proxy;
  }

  /** Nothing passes until `release`; connections stay open: a black hole. */
  hold(): void {
    this.held = true;
  }

  /** Bytes pass, but nobody hears that a connection has ended until `release`: a slow FIN. */
  holdEnds(): void {
    this.endsHeld = true;
  }

  /** From now on nothing that goes these ways arrives, the ends of connections neither; nobody takes the bytes. */
  lose(...directions: readonly Direction[]): void {
    for (const direction of directions) this.lost.add(direction);
  }

  release(): void {
    this.held = false;
    this.endsHeld = false;
    for (const pass of this.waiting.splice(0)) pass();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { client, server } of this.links) {
      client.destroy();
      server.destroy();
    }
    await new Promise<void>((resolve) => this.listener.close(() => resolve()));
  }

  private link(client: Socket, port: number): void {
    const server = connect({ port, host: '127.0.0.1' });
    const link = new ProxyLink(client, server);
    this.links.push(link);
    this.pass(link, 'up', client, server);
    this.pass(link, 'down', server, client);
  }

  private pass(link: ProxyLink, direction: Direction, from: Socket, to: Socket): void {
    from.setNoDelay(true);
    to.setNoDelay(true);
    from.on('data', (bytes) => {
      if (this.lost.has(direction)) from.pause();
      else if (this.held) this.waiting.push(() => this.write(link, direction, bytes, to));
      else this.write(link, direction, bytes, to);
    });
    from.on('error', () => this.end(direction, () => to.destroy()));
    from.on('end', () => this.end(direction, () => to.end()));
    from.on('close', () => this.end(direction, () => to.destroy()));
  }

  private end(direction: Direction, pass: () => void): void {
    if (this.lost.has(direction)) return;
    if (this.endsHeld) this.waiting.push(pass);
    else pass();
  }

  private write(link: ProxyLink, direction: Direction, original: Buffer, to: Socket): void {
    const bytes = this.settings.alter?.(link, direction, original) ?? original;
    const allowed = this.settings.allow?.(link, direction, bytes.length) ?? bytes.length;
    link.passed[direction] += allowed;
    const { slice } = this.settings;
    for (let at = 0; at < allowed;) {
      const end = slice === undefined ? allowed : Math.min(allowed, at + Math.max(1, slice()));
      if (!to.destroyed) to.write(bytes.subarray(at, end));
      at = end;
    }
  }
}
