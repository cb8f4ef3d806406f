/** Requests over HTTP, as far as somebody's registry wants them. */

/** What both ends prove over `https:`, PEM. */
export interface HttpCredentials {
  /** The only authorities whose certificates are believed; `undefined`: those of Node. */
  readonly ca?: readonly (string | Uint8Array)[] | undefined;
  readonly cert?: string | Uint8Array | undefined;
  readonly key?: string | Uint8Array | undefined;
}

export interface HttpRequest {
  readonly method: 'GET' | 'POST';
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string | undefined;
  /** Ends the request, and the reading of its answer, whenever it aborts. There is no other time limit. */
  readonly signal: AbortSignal;
  /** For `https:` only. */
  readonly credentials?: HttpCredentials | undefined;
}

export interface HttpResponse {
  readonly status: number;
  /** As it arrives, and as much as arrives: whoever reads it has to stop when it is too much, which ends the request. */
  readonly body: AsyncIterable<Uint8Array>;
}

export interface Http {
  /** Nothing that is open keeps the process alive. Redirects are answers like any other. @throws the system's error. */
  request(url: string, request: HttpRequest): Promise<HttpResponse>;
  /** Connections that wait for further requests are closed. Safe to repeat. */
  close(): void;
}
