/** HTTP by Node itself: `fetch` takes no authority and no certificate, and what it has open keeps the process alive. */
import { Agent as PlainAgent, request as plainRequest, type IncomingMessage, type RequestOptions } from 'node:http';
import { Agent as TlsAgent, request as tlsRequest } from 'node:https';
import type { Http, HttpCredentials, HttpRequest, HttpResponse } from '../ports/http.js';

const KEEP_ALIVE = { keepAlive: true, maxFreeSockets: 4 } as const;

/** Connections are kept for further requests until `close`. */
export class SystemHttp implements Http {
  private readonly plain = new PlainAgent(KEEP_ALIVE);
  private readonly tls = new TlsAgent(KEEP_ALIVE);

  request(url: string, { method, headers, body, signal, credentials }: HttpRequest): Promise<HttpResponse> {
    const isPlain = new URL(url).protocol === 'http:';
    const options = { method, headers: { ...headers, ...lengthOf(body) }, signal };
    return new Promise((resolve, reject) => {
      const answered = (message: IncomingMessage): void => resolve(responseOf(message));
      const request = isPlain
        ? plainRequest(url, { ...options, agent: this.plain }, answered)
        : tlsRequest(url, { ...options, ...tlsOptions(credentials), agent: this.tls }, answered);
      request.on('error', reject);
      request.on('socket', (socket) => socket.unref());
      request.end(body);
    });
  }

  close(): void {
    this.plain.destroy();
    this.tls.destroy();
  }
}

/** What is sent has a length, or it is sent in chunks, which not every server reads. */
function lengthOf(body: string | undefined): Record<string, string> {
  return body === undefined ? {} : { 'content-length': String(Buffer.byteLength(body)) };
}

/** Whatever the environment says, peers are verified. */
function tlsOptions({ ca, cert, key }: HttpCredentials = {}): RequestOptions & { rejectUnauthorized: true } {
  return {
    rejectUnauthorized: true,
    ...(ca === undefined ? {} : { ca: ca.map(bufferOf) }),
    ...(cert === undefined ? {} : { cert: bufferOf(cert) }),
    ...(key === undefined ? {} : { key: bufferOf(key) }),
  };
}

function bufferOf(pem: string | Uint8Array): Buffer {
  return Buffer.from(pem);
}

function responseOf(message: IncomingMessage): HttpResponse {
  // Whoever reads it is told; an answer that nobody reads must not end the process.
  message.on('error', () => {});
  return { status: message.statusCode ?? 0, body: message };
}
