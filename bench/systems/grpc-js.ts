/** gRPC by `@grpc/grpc-js`, without Nest. */
import {
  ChannelCredentials,
  loadPackageDefinition,
  Server,
  ServerCredentials,
  type ClientReadableStream,
  type ServerWritableStream,
  type handleUnaryCall,
  type requestCallback,
  type ServiceClientConstructor,
} from '@grpc/grpc-js';
import { credentials } from '../certificates.js';
import { HOST } from '../host.js';
import type { BenchClient, BenchServer, System } from '../system.js';
import {
  PACKAGE,
  PACKAGE_NAME,
  SERVICE_NAME,
  type Bytes,
  type Item,
  type Pair,
  type Sum,
  type Wish,
} from './grpc-bench.js';
import type { Wire } from './wire.js';

type Unary<Request, Reply> = (request: Request, callback: requestCallback<Reply>) => void;

interface MathClient {
  add: Unary<Pair, Sum>;
  echo: Unary<Bytes, Bytes>;
  fetch: Unary<Wish, Bytes>;
  count(request: Wish): ClientReadableStream<Item>;
  waitForReady(deadline: number, callback: (error?: Error) => void): void;
  close(): void;
}

const READY_MS = 10_000;

const add: handleUnaryCall<Pair, Sum> = ({ request: { a, b } }, reply) => reply(null, { value: a + b });
const echo: handleUnaryCall<Bytes, Bytes> = ({ request }, reply) => reply(null, request);
const fetch: handleUnaryCall<Wish, Bytes> = ({ request: { size = 0 } }, reply) => {
  reply(null, { bytes: Buffer.alloc(size, 1) });
};

/** As fast as the peer takes them. */
function count(call: ServerWritableStream<Wish, Item>): void {
  const { items = 0 } = call.request;
  let n = 0;
  const writeSome = (): void => {
    while (n < items) if (!call.write({ n: ++n })) return;
    call.end();
  };
  call.on('drain', writeSome);
  writeSome();
}

export function over(wire: Wire): System {
  return { serve: () => serve(wire), connect: (port) => connect(port, wire) };
}

async function serve(wire: Wire): Promise<BenchServer> {
  const server = new Server();
  server.addService(mathOf().service, { add, echo, fetch, count });
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync(`${HOST}:0`, serverCredentials(wire), (error, bound) => {
      if (error === null) resolve(bound);
      else reject(error);
    });
  });
  return { port, close: () => server.forceShutdown() };
}

async function connect(port: number, wire: Wire): Promise<BenchClient> {
  const Client = mathOf();
  // It would give an address for a name in its hello, which has to be a name.
  const options = wire === 'tls' ? { 'grpc.ssl_target_name_override': 'localhost' } : {};
  const client = new Client(`${HOST}:${port}`, channelCredentials(wire), options) as unknown as MathClient;
  await new Promise<void>((resolve, reject) => {
    client.waitForReady(Date.now() + READY_MS, (error) => (error === undefined ? resolve() : reject(error)));
  });
  return {
    add: async (a, b) => (await ask<Sum>((callback) => client.add({ a, b }, callback))).value,
    echo: async (bytes) => (await ask<Bytes>((callback) => client.echo({ bytes }, callback))).bytes,
    fetch: async (size) => (await ask<Bytes>((callback) => client.fetch({ size }, callback))).bytes,
    count: async (items) => await sumOf(client.count({ items })),
    close: () => client.close(),
  };
}

/** Over TLS by certificate, too. */
function serverCredentials(wire: Wire): ServerCredentials {
  if (wire === 'tcp') return ServerCredentials.createInsecure();
  const { ca, cert, key } = inBytes();
  return ServerCredentials.createSsl(ca, [{ cert_chain: cert, private_key: key }], true);
}

function channelCredentials(wire: Wire): ChannelCredentials {
  if (wire === 'tcp') return ChannelCredentials.createInsecure();
  const { ca, cert, key } = inBytes();
  return ChannelCredentials.createSsl(ca, key, cert);
}

function inBytes(): { ca: Buffer; cert: Buffer; key: Buffer } {
  const { ca, cert, key } = credentials();
  return { ca: Buffer.from(ca), cert: Buffer.from(cert), key: Buffer.from(key) };
}

function mathOf(): ServiceClientConstructor {
  const { [PACKAGE_NAME]: bench } = loadPackageDefinition(PACKAGE) as Record<
    string,
    Record<string, ServiceClientConstructor>
  >;
  const math = bench?.[SERVICE_NAME];
  if (math === undefined) throw new Error(`There is no service ${SERVICE_NAME}.`);
  return math;
}

function ask<Reply>(call: (callback: requestCallback<Reply>) => void): Promise<Reply> {
  return new Promise((resolve, reject) => {
    call((error, reply) => {
      if (error !== null) reject(error);
      else if (reply !== undefined) resolve(reply);
    });
  });
}

function sumOf(stream: ClientReadableStream<Item>): Promise<number> {
  return new Promise((resolve, reject) => {
    let sum = 0;
    stream.on('data', ({ n }: Item) => (sum += n));
    stream.on('end', () => resolve(sum));
    stream.on('error', reject);
  });
}
