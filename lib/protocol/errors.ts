/** The one error of this library: a closed table of codes, the same shape from every verb and on the wire. */

/** `badrpc`: the call was judged by a node. `badtcp`: the conversation itself broke. As gen_rpc splits them. */
export type ErrorFamily = 'badrpc' | 'badtcp';

/**
 * Every code there is. `wire` is its number in an ERROR frame; 0 means that it is never sent.
 * The left column of gen_rpc's errors is in docs/PROTOCOL.md.
 */
const CODES = {
  timeout: { wire: 1, family: 'badrpc', message: 'The deadline passed before a reply arrived.' },
  cancelled: { wire: 2, family: 'badrpc', message: 'The caller gave the call up.' },
  shutting_down: { wire: 11, family: 'badrpc', message: 'The node shut down before the function ended.' },
  node_down: { wire: 0, family: 'badrpc', message: 'The node cannot be reached.' },
  unauthorized: { wire: 3, family: 'badrpc', message: 'The module is not callable by remote nodes.' },
  incompatible: { wire: 4, family: 'badrpc', message: 'The node has no such version of the module.' },
  undefined_function: { wire: 5, family: 'badrpc', message: 'The node has no such function.' },
  handler_failed: { wire: 6, family: 'badrpc', message: 'The function failed.' },
  refused: { wire: 7, family: 'badrpc', message: 'The node did not start the call.' },
  protocol_error: { wire: 8, family: 'badrpc', message: 'The bytes received are outside the protocol.' },
  encode_error: { wire: 9, family: 'badrpc', message: 'The value cannot be encoded.' },
  message_too_large: { wire: 10, family: 'badrpc', message: 'The message is larger than the limit.' },
  invalid_argument: { wire: 0, family: 'badrpc', message: 'The call itself is malformed.' },
  invalid_cookie: { wire: 0, family: 'badrpc', message: 'The nodes do not share a secret.' },
  external_source_error: { wire: 0, family: 'badrpc', message: 'Discovery could not tell where the node is.' },
  connection_lost: { wire: 0, family: 'badtcp', message: 'The connection closed before a reply arrived.' },
  send_timeout: { wire: 0, family: 'badtcp', message: 'The peer stopped reading.' },
  wrong_node: { wire: 0, family: 'badtcp', message: 'Another node answered at this address.' },
  version_mismatch: { wire: 0, family: 'badtcp', message: 'The nodes have no protocol version in common.' },
  node_certificate_mismatch: { wire: 0, family: 'badtcp', message: 'The certificate names another node.' },
} as const satisfies Record<string, { wire: number; family: ErrorFamily; message: string }>;

export type GenRpcErrorCode = keyof typeof CODES;

export interface GenRpcErrorOptions {
  /** May the function have run? `true` where it has, and where nobody can know. Default `false`. */
  maybeExecuted?: boolean;
  /** What the failing side meant the caller to see: any encodable value. */
  details?: unknown;
  /** The original, for the local log. Never crosses the wire. */
  cause?: unknown;
  /** See `GenRpcError.call`. */
  call?: string;
}

const BRAND = Symbol.for('nestjs-gen-rpc.error');

/** What every verb throws. Recognise it by `isGenRpcError`, which also works across copies of this package. */
export class GenRpcError extends Error {
  override readonly name = 'GenRpcError';
  readonly code: GenRpcErrorCode;
  readonly family: ErrorFamily;
  readonly maybeExecuted: boolean;
  readonly details: unknown;
  /** What was called and where, of an error that another node sent: `prices.quote on prices@10.0.0.2`. */
  declare readonly call?: string;
  /** Where its code is explained. For logs: it never crosses the wire. */
  readonly help: string;

  constructor(code: GenRpcErrorCode, message?: string, options: GenRpcErrorOptions = {}) {
    super(message ?? CODES[code].message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.family = CODES[code].family;
    this.maybeExecuted = options.maybeExecuted ?? false;
    this.details = options.details;
    if (options.call !== undefined) this.call = options.call;
    this.help = `nestjs-gen-rpc/docs/errors.md#${code}`;
    Object.defineProperty(this, BRAND, { value: true });
  }
}

export function isGenRpcError(value: unknown): value is GenRpcError {
  try {
    return typeof value === 'object' && value !== null && BRAND in value;
  } catch {
    // A Proxy may throw at whoever looks at it.
    return false;
  }
}

/** The longest message that a frame carries, in UTF-8 bytes. */
export const MAX_ERROR_MESSAGE_BYTES = 1024;

const BY_WIRE = new Map<number, GenRpcErrorCode>(
  (Object.keys(CODES) as GenRpcErrorCode[])
    .filter((code) => CODES[code].wire > 0)
    .map((code) => [CODES[code].wire, code]),
);

/** The number of a code in an ERROR frame; a code that is never sent travels as `handler_failed`. */
export function wireOfCode(code: GenRpcErrorCode): number {
  return CODES[code].wire || CODES.handler_failed.wire;
}

/** The code behind a number of an ERROR frame, or `undefined` for a number that this version does not know. */
export function codeOfWire(wire: number): GenRpcErrorCode | undefined {
  return BY_WIRE.get(wire);
}
