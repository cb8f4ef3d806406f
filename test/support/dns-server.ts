/** A name server of a test's own, on loopback, over UDP and TCP: with records, and with every way of not answering. */
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { createServer, type AddressInfo, type Server, type Socket as TcpSocket } from 'node:net';
import {
  readQuestion,
  writeAnswer,
  type DnsQuestion,
  type DnsRecord,
  type DnsVerdict,
} from '../../sample/16-dns/dns-message.js';

export type DnsFault = 'SERVFAIL' | 'NXDOMAIN' | 'REFUSED' | 'silent' | 'garbage';

const RCODES = { SERVFAIL: 2, NXDOMAIN: 3, REFUSED: 5 } as const;
/** Without EDNS. (RFC 1035) */
const MOST_UDP_BYTES = 512;

export class DnsServer implements AsyncDisposable {
  /** `udp A math.test`, one for each query, in the order in which they came. */
  readonly queries: string[] = [];
  private readonly zone = new Map<string, readonly DnsRecord[]>();
  private readonly faults = new Map<string, DnsFault>();
  private readonly connections = new Set<TcpSocket>();
  private closed: Promise<void> | undefined;

  private constructor(
    private readonly udp: Socket,
    private readonly tcp: Server,
    /** `127.0.0.1:port`. */
    readonly address: string,
  ) {
    udp.on('message', (query, from) => {
      const answer = this.answer('udp', query);
      if (answer !== undefined) udp.send(answer, from.port, from.address);
    });
    tcp.on('connection', (socket) => this.serve(socket));
  }

  /** On a free port, or on that of another one that was there before. */
  static async start(address = '127.0.0.1:0'): Promise<DnsServer> {
    const [host, wanted] = address.split(':');
    for (;;) {
      const udp = createSocket('udp4');
      udp.bind(Number(wanted), host);
      await once(udp, 'listening');
      const { port } = udp.address();
      const tcp = createServer().listen(port, host);
      const isFree = await once(tcp, 'listening').then(
        () => true,
        () => false,
      );
      if (isFree) return new DnsServer(udp, tcp, `${host}:${(tcp.address() as AddressInfo).port}`);
      udp.close();
    }
  }

  /** All that there is of a name; none: there is the name, but nothing of it. */
  set(name: string, ...records: readonly DnsRecord[]): void {
    this.zone.set(name, records);
  }

  /** A name with these addresses. */
  addresses(name: string, ...addresses: readonly string[]): void {
    this.set(name, ...addresses.map((address) => ({ type: address.includes(':') ? 'AAAA' : 'A', address }) as const));
  }

  /** From now on; without a fault, as before. With a type (`A math.test`), of that only. */
  fail(name: string, fault?: DnsFault): void {
    if (fault === undefined) this.faults.delete(name);
    else this.faults.set(name, fault);
  }

  /** How often it was asked that: `A math.test`. */
  asked(question: string): number {
    return this.queries.filter((query) => query.endsWith(` ${question}`)).length;
  }

  /** Safe to repeat. */
  [Symbol.asyncDispose](): Promise<void> {
    this.closed ??= this.close();
    return this.closed;
  }

  private async close(): Promise<void> {
    for (const socket of this.connections) socket.destroy();
    await Promise.all([
      new Promise<void>((resolve) => this.udp.close(() => resolve())),
      new Promise<void>((resolve) => this.tcp.close(() => resolve())),
    ]);
  }

  /** Each message has its length in front. */
  private serve(socket: TcpSocket): void {
    let rest = Buffer.alloc(0);
    this.connections.add(socket);
    socket.on('close', () => this.connections.delete(socket));
    socket.on('error', () => {});
    socket.on('data', (bytes) => {
      rest = Buffer.concat([rest, bytes]);
      while (rest.length >= 2 && rest.length >= 2 + rest.readUInt16BE(0)) {
        const end = 2 + rest.readUInt16BE(0);
        const answer = this.answer('tcp', rest.subarray(2, end));
        rest = rest.subarray(end);
        if (answer === undefined) continue;
        const length = Buffer.alloc(2);
        length.writeUInt16BE(answer.length);
        socket.write(Buffer.concat([length, answer]));
      }
    });
  }

  private answer(over: 'udp' | 'tcp', query: Buffer): Buffer | undefined {
    const question = readQuestion(query);
    const asked = `${question.type ?? '?'} ${question.name}`;
    this.queries.push(`${over} ${asked}`);
    const fault = this.faults.get(asked) ?? this.faults.get(question.name);
    if (fault === 'silent') return undefined;
    // The answer to this question, cut off in the middle of its first record.
    if (fault === 'garbage') return writeAnswer(question, [{ type: 'A', address: '127.0.0.1' }]).subarray(0, -3);
    if (fault !== undefined) return writeAnswer(question, [], { rcode: RCODES[fault] });
    const records = this.zone.get(question.name);
    if (records === undefined) return writeAnswer(question, [], { rcode: RCODES.NXDOMAIN });
    return fitting(
      over,
      question,
      records.filter(({ type }) => type === question.type),
    );
  }
}

function fitting(over: 'udp' | 'tcp', question: DnsQuestion, records: readonly DnsRecord[]): Buffer {
  const whole = writeAnswer(question, records);
  const cut: DnsVerdict = { isTruncated: true };
  return over === 'udp' && whole.length > MOST_UDP_BYTES ? writeAnswer(question, [], cut) : whole;
}
