/** A name server in forty lines, so that the sample needs none of yours. In Kubernetes this is CoreDNS. */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { type DnsRecord, readQuestion, writeAnswer } from './dns-message.js';

const NXDOMAIN = 3;

export class NameServer {
  private readonly socket = createSocket('udp4');
  private readonly zone = new Map<string, readonly DnsRecord[]>();

  private constructor() {
    this.socket.on('message', (query, from) => {
      const question = readQuestion(query);
      const records = this.zone.get(question.name);
      const found = records?.filter(({ type }) => type === question.type) ?? [];
      const answer = writeAnswer(question, found, { rcode: records === undefined ? NXDOMAIN : 0 });
      this.socket.send(answer, from.port, from.address);
    });
  }

  static async start(): Promise<NameServer> {
    const server = new NameServer();
    server.socket.bind(0, '127.0.0.1');
    await once(server.socket, 'listening');
    return server;
  }

  get address(): string {
    return `127.0.0.1:${this.socket.address().port}`;
  }

  /** What the name leads to from now on. */
  set(name: string, ...records: readonly DnsRecord[]): void {
    this.zone.set(name, records);
  }

  async stop(): Promise<void> {
    this.socket.close();
    await once(this.socket, 'close');
  }
}
