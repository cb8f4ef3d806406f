/** HTTP as the system has it, through the hands of a test: it may be refused, cut, and altered line by line. */
import type { Http, HttpRequest, HttpResponse } from '../../lib/ports/http.js';
import { SystemHttp } from '../../lib/system/system-http.js';

export class TappedHttp implements Http {
  /** Nothing is reached from now on, until `false`. */
  isRefusing = false;
  /** Of each line of a watch, what arrives instead; `undefined`: nothing. */
  alter: (line: string) => string | undefined = (line) => line;
  /** Lines of watches that have arrived, as they were sent. */
  readonly lines: string[] = [];
  /** Paths asked for, in their order. */
  readonly asked: string[] = [];
  private readonly inner = new SystemHttp();
  private readonly watches = new Set<AbortController>();

  /** Watches end as where a connection is lost. */
  cut(): void {
    for (const watch of this.watches) watch.abort(new Error('The test has cut it.'));
  }

  async request(url: string, request: HttpRequest): Promise<HttpResponse> {
    this.asked.push(new URL(url).pathname);
    if (this.isRefusing) throw new Error('The test refuses it.');
    if (!url.endsWith('/v3/watch')) return this.inner.request(url, request);
    const watch = new AbortController();
    this.watches.add(watch);
    const response = await this.inner.request(url, {
      ...request,
      signal: AbortSignal.any([request.signal, watch.signal]),
    });
    return { status: response.status, body: this.tapped(response.body) };
  }

  close(): void {
    this.inner.close();
  }

  private async *tapped(body: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    let rest = '';
    for await (const chunk of body) {
      const lines = `${rest}${Buffer.from(chunk).toString()}`.split('\n');
      rest = lines.pop() ?? '';
      this.lines.push(...lines);
      const altered = lines.flatMap((line) => this.alter(line) ?? []);
      yield Buffer.from(altered.map((line) => `${line}\n`).join(''));
    }
  }
}
