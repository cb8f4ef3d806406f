/** What etcd says instead of doing what it was asked to. */
import { printable } from '../protocol/node-name.js';

/** Numbers of gRPC, as far as they are told apart. */
const CODE = { invalidArgument: 3, deadlineExceeded: 4, internal: 13, unavailable: 14, unauthenticated: 16 } as const;

export class EtcdError extends Error {
  constructor(
    message: string,
    /** Of gRPC; `undefined`: it was not etcd that answered. */
    readonly code: number | undefined,
  ) {
    super(message);
  }

  /** `{ error: 'why', code }` up to etcd 3.5, `{ message, code }` since, `{ error: { message, grpc_code } }` in streams. */
  static of(answer: unknown): EtcdError {
    const { error, message, code, grpc_code: streamed } = asObject(answer);
    if (typeof error === 'object' && error !== null) return EtcdError.of(error);
    const number = [code, streamed].find((one) => typeof one === 'number');
    return new EtcdError(`etcd: ${printable(message ?? error)}.`, number as number | undefined);
  }

  /** It has no majority, no leader or no time: another endpoint may do better. */
  get isUnavailable(): boolean {
    const codes: readonly (number | undefined)[] = [CODE.deadlineExceeded, CODE.internal, CODE.unavailable];
    return codes.includes(this.code);
  }

  /** Whoever asked has to show the password again. */
  get isTokenRefused(): boolean {
    if (this.code === CODE.unauthenticated) return true;
    return this.code === CODE.invalidArgument && /auth store is old|user name is empty/.test(this.message);
  }

  get isLeaseUnknown(): boolean {
    return /lease not found/.test(this.message);
  }

  get isAuthDisabled(): boolean {
    return /authentication is not enabled/.test(this.message);
  }
}

export function asObject(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}
