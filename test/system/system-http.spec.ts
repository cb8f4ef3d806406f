import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, it } from 'vitest';
import { SystemHttp } from '../../lib/system/system-http.js';
import { socketsOf } from '../support/child-node.js';
import { until } from '../support/door.js';

const NEVER = new AbortController().signal;

async function withServer(
  listener: RequestListener,
  body: (url: string, http: SystemHttp, seen: () => number) => Promise<void>,
): Promise<void> {
  let connections = 0;
  const server = createServer(listener).on('connection', () => (connections += 1));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const http = new SystemHttp();
  try {
    await body(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, http, () => connections);
  } finally {
    http.close();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
}

async function textOf(body: AsyncIterable<Uint8Array>): Promise<string> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of body) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

describe('HTTP as the system has it', () => {
  it('sends what it is given, by its length in bytes, over a connection that is kept', () =>
    withServer(
      (request, response) => {
        const chunks: Buffer[] = [];
        request.on('data', (chunk: Buffer) => chunks.push(chunk));
        const { method, url, headers } = request;
        const say = (): void => {
          const { authorization, 'content-length': length } = headers;
          response.end(JSON.stringify({ method, url, authorization, length, body: Buffer.concat(chunks).toString() }));
        };
        request.on('end', say);
      },
      async (url, http, connections) => {
        const request = { method: 'POST', headers: { authorization: 'me' }, body: 'äöü', signal: NEVER } as const;
        for (let time = 0; time < 3; time += 1) {
          const { status, body } = await http.request(`${url}/path`, request);
          expect(status).toBe(200);
          const seen = { method: 'POST', url: '/path', authorization: 'me', length: '6', body: 'äöü' };
          expect(JSON.parse(await textOf(body))).toEqual(seen);
        }
        expect(connections()).toBe(1);
      },
    ));

  it('goes nowhere that an answer sends it', () => {
    const paths: (string | undefined)[] = [];
    return withServer(
      ({ url }, response) => {
        paths.push(url);
        response.writeHead(307, { location: '/elsewhere' }).end('go');
      },
      async (url, http) => {
        const { status, body } = await http.request(`${url}/here`, { method: 'GET', headers: {}, signal: NEVER });
        await expect(textOf(body)).resolves.toBe('go');
        expect({ status, paths }).toEqual({ status: 307, paths: ['/here'] });
      },
    );
  });

  it.each(['before an answer', 'in the middle of one'])('ends when its signal aborts, %s', (when) =>
    withServer(
      (_, response) => void (when === 'in the middle of one' && response.write('half')),
      async (url, http) => {
        const sockets = socketsOf();
        const controller = new AbortController();
        const answer = http
          .request(url, { method: 'GET', headers: {}, signal: controller.signal })
          .then(async ({ body }) => textOf(body));
        await until(() => socketsOf() >= sockets + 2);
        controller.abort();
        await expect(answer).rejects.toThrow(/abort/);
        await until(() => socketsOf() <= sockets);
      },
    ),
  );

  it('reads no further than is read of it', () => {
    let sent = 0;
    return withServer(
      (_, response) => {
        const more = (): void => {
          while (!response.destroyed && response.write(Buffer.alloc(65_536))) sent += 65_536;
        };
        response.on('drain', more);
        more();
      },
      async (url, http) => {
        const { body } = await http.request(url, { method: 'GET', headers: {}, signal: NEVER });
        for await (const chunk of body) {
          expect(chunk.length).toBeGreaterThan(0);
          break;
        }
        // As much as sockets hold.
        expect(sent).toBeLessThan(32 * 1024 * 1024);
      },
    );
  });

  it('says with the system why nobody was reached', () =>
    withServer(
      () => {},
      async (url, http) => {
        const closed = url.replace(/\d+$/, '1');
        const answer = http.request(closed, { method: 'GET', headers: {}, signal: NEVER });
        await expect(answer).rejects.toMatchObject({ code: 'ECONNREFUSED' });
      },
    ));
});
