/** etcd v3 as it is spoken over HTTP and JSON, by whichever of its endpoints answers. */
import { setMaxListeners } from 'node:events';
import type { Clock } from '../ports/clock.js';
import type { Http, HttpCredentials } from '../ports/http.js';
import type { Random } from '../ports/random.js';
import { printable } from '../protocol/node-name.js';
import { asObject, EtcdError } from './etcd-error.js';
import { BodyTooLarge, linesOf, textOf } from './http-body.js';

export interface EtcdGatewayParts {
  readonly endpoints: readonly string[];
  readonly user: { readonly name: string; readonly password: string } | undefined;
  /** ms for an answer, of each endpoint. */
  readonly requestTimeout: number;
  /** Read anew for each endpoint that is turned to: files may have been replaced. */
  readonly credentials: () => HttpCredentials | undefined;
  readonly http: Http;
  readonly clock: Clock;
  readonly random: Random;
}

/** The time at one endpoint. What is open there ends with it. */
interface Stay {
  readonly endpoint: string;
  readonly credentials: HttpCredentials | undefined;
  readonly left: AbortController;
}

interface Asked {
  readonly path: string;
  readonly body: object;
  readonly signal: AbortSignal | undefined;
}

/** Of one answer, and of one line of a stream. */
const MOST_BYTES = 8 * 1024 * 1024;

export class EtcdGateway {
  /** Nodes begin at different ones. */
  private next: number;
  private stay: Stay | undefined;
  private token: string | undefined;
  private authenticating: Promise<string> | undefined;
  private readonly closed = sharedController();

  constructor(private readonly parts: EtcdGatewayParts) {
    this.next = Math.floor(parts.random.fraction() * parts.endpoints.length);
  }

  /** Asks each endpoint once, until one answers. @throws EtcdError, BodyTooLarge, or why there was no answer. */
  async call(path: string, body: object, signal?: AbortSignal): Promise<Record<string, unknown>> {
    let failure: unknown;
    for (let left = this.parts.endpoints.length; left > 0; left -= 1) {
      const stay = this.current();
      try {
        return await this.authorised(stay, (token) => this.post(stay, { path, body, signal }, token));
      } catch (error) {
        if (this.closed.signal.aborted || signal?.aborted === true || isAnswer(error)) throw error;
        failure = error;
        this.leave(stay, error);
      }
    }
    throw failure;
  }

  /**
   * The messages of a stream, as they come, for as long as the endpoint is not left.
   * @throws EtcdError, BodyTooLarge, why there was no answer, or why the endpoint was left.
   */
  async *stream(path: string, body: object, signal: AbortSignal): AsyncGenerator<Record<string, unknown>> {
    const stay = this.current();
    const limit = this.limit(stay, signal);
    try {
      const response = await this.authorised(stay, (token) => this.send(stay, { path, body, signal }, token, limit));
      limit.stopClock();
      for await (const line of linesOf(response.body, MOST_BYTES)) {
        const message = asObject(JSON.parse(line));
        if (message['error'] !== undefined) throw EtcdError.of(message);
        yield asObject(message['result']);
      }
    } catch (error) {
      const cause: unknown = limit.signal.aborted ? limit.signal.reason : error;
      if (!this.closed.signal.aborted && !signal.aborted && !isAnswer(cause)) this.leave(stay, cause);
      throw cause;
    } finally {
      limit.end();
    }
  }

  /** The next call shows the password again. */
  forgetToken(): void {
    this.token = undefined;
  }

  /** Whatever is open ends. Safe to repeat. */
  close(): void {
    this.closed.abort(new Error('It was closed.'));
    this.parts.http.close();
  }

  private current(): Stay {
    const { endpoints, credentials } = this.parts;
    this.stay ??= {
      endpoint: endpoints[this.next % endpoints.length] ?? '',
      credentials: credentials(),
      left: sharedController(),
    };
    return this.stay;
  }

  private leave(stay: Stay, cause: unknown): void {
    if (stay !== this.stay) return;
    this.stay = undefined;
    this.next += 1;
    stay.left.abort(cause);
  }

  /** Runs `ask` with a token where there is a user; once more where the token is refused. */
  private async authorised<T>(stay: Stay, ask: (token: string) => Promise<T>): Promise<T> {
    if (this.parts.user === undefined) return ask('');
    const token = this.token ?? (await this.authenticate(stay));
    try {
      return await ask(token);
    } catch (error) {
      if (!(error instanceof EtcdError) || !error.isTokenRefused) throw error;
      if (this.token === token) this.token = undefined;
      return ask(this.token ?? (await this.authenticate(stay)));
    }
  }

  /** Of those who need a token at one time, one asks for it: it costs etcd a tenth of a second. */
  private authenticate(stay: Stay): Promise<string> {
    this.authenticating ??= this.newToken(stay).finally(() => (this.authenticating = undefined));
    return this.authenticating;
  }

  private async newToken(stay: Stay): Promise<string> {
    const path = '/v3/auth/authenticate';
    try {
      const { token } = await this.post(stay, { path, body: this.parts.user ?? {}, signal: undefined }, '');
      this.token = typeof token === 'string' ? token : '';
    } catch (error) {
      // As etcd's own client: whoever is told a password early can have etcd ask for it later.
      if (!(error instanceof EtcdError) || !error.isAuthDisabled) throw error;
      this.token = '';
    }
    return this.token;
  }

  private async post(stay: Stay, asked: Asked, token: string): Promise<Record<string, unknown>> {
    const limit = this.limit(stay, asked.signal);
    try {
      const { body } = await this.send(stay, asked, token, limit);
      const answer = objectIn(await textOf(body, MOST_BYTES));
      if (answer['error'] !== undefined) throw EtcdError.of(answer);
      return answer;
    } catch (error) {
      throw limit.signal.aborted ? limit.signal.reason : error;
    } finally {
      limit.end();
    }
  }

  /** @throws EtcdError for an answer that is none. */
  private async send(stay: Stay, { path, body }: Asked, token: string, limit: Limit): Promise<{ body: Body }> {
    const { endpoint, credentials } = stay;
    const headers = { 'content-type': 'application/json', ...(token === '' ? {} : { authorization: token }) };
    const response = await this.parts.http.request(`${endpoint}${path}`, {
      ...{ method: 'POST', headers, credentials },
      body: JSON.stringify(body),
      signal: limit.signal,
    });
    if (response.status === 200) return response;
    const said = await textOf(response.body, MOST_BYTES);
    const answer = errorIn(said);
    if (answer.code !== undefined) throw answer;
    throw new Error(`${endpoint}${path} answers with status ${response.status}: ${printable(said)}.`);
  }

  private limit(stay: Stay, signal: AbortSignal | undefined): Limit {
    const { clock, requestTimeout } = this.parts;
    const late = new Error(`${stay.endpoint} has not answered within ${requestTimeout} ms.`);
    const also = [stay.left.signal, this.closed.signal, ...(signal === undefined ? [] : [signal])];
    return new Limit(clock, requestTimeout, late, also);
  }
}

/** With as many listeners as there are requests: Node warns of more than ten. */
function sharedController(): AbortController {
  const controller = new AbortController();
  setMaxListeners(0, controller.signal);
  return controller;
}

type Body = AsyncIterable<Uint8Array>;

/** Ends a request: after a time, or with one of several signals, to none of which it stays bound. */
class Limit {
  private readonly controller = new AbortController();
  private readonly stopped: (() => void)[];
  readonly stopClock: () => void;

  constructor(clock: Clock, ms: number, late: Error, signals: readonly AbortSignal[]) {
    const timer = clock.after(ms, () => this.controller.abort(late));
    this.stopClock = () => timer.cancel();
    this.stopped = signals.map((signal) => {
      const abort = (): void => this.controller.abort(signal.reason);
      if (signal.aborted) abort();
      signal.addEventListener('abort', abort);
      return () => signal.removeEventListener('abort', abort);
    });
  }

  get signal(): AbortSignal {
    return this.controller.signal;
  }

  end(): void {
    this.stopClock();
    for (const stop of this.stopped) stop();
  }
}

/** It was understood, and another endpoint would say the same. */
function isAnswer(error: unknown): boolean {
  return error instanceof BodyTooLarge || (error instanceof EtcdError && !error.isUnavailable);
}

function objectIn(text: string): Record<string, unknown> {
  const value: unknown = JSON.parse(text);
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw new Error(`It answers with ${printable(text)}, which is not from etcd.`);
}

function errorIn(text: string): EtcdError {
  try {
    return EtcdError.of(JSON.parse(text));
  } catch {
    return new EtcdError(text, undefined);
  }
}
