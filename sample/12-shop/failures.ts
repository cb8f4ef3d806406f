/** What goes wrong in the work itself, and how callers in other services see it: as data with a code. */
import { type ArgumentsHost, Catch, ValidationPipe } from '@nestjs/common';
import { BaseRpcExceptionFilter, RpcException } from '@nestjs/microservices';
import { type Observable, throwError } from 'rxjs';

export type FailureCode = 'INVALID' | 'UNKNOWN' | 'OUT_OF_STOCK' | 'DECLINED' | 'UNAVAILABLE';

export interface Failure {
  code: FailureCode;
  message: string;
}

/** Thrown by handlers. */
export class ShopError extends Error {
  constructor(
    readonly code: FailureCode,
    message: string,
  ) {
    super(message);
  }
}

/** What of an error callers may see, wherever it came from. */
export function failureOf(error: unknown): Failure | undefined {
  const { code, message } = (error instanceof RpcException ? error.getError() : (error ?? {})) as Partial<Failure>;
  if (error instanceof Error && UNREACHABLE.has(code ?? ''))
    return { code: 'UNAVAILABLE', message: 'Try again later.' };
  return code !== undefined && CODES.has(code) ? { code, message: message ?? code } : undefined;
}

const CODES = new Set<string>(['INVALID', 'UNKNOWN', 'OUT_OF_STOCK', 'DECLINED', 'UNAVAILABLE']);
/** What both transports say of a service that is not there. */
const UNREACHABLE = new Set<string>(['ECONNREFUSED', 'ECONNRESET']);

/** Lets failures through to callers, those of services further on too; hides accidents, as Nest does. */
@Catch()
export class FailureFilter extends BaseRpcExceptionFilter {
  override catch(error: unknown, host: ArgumentsHost): Observable<unknown> {
    const failure = failureOf(error);
    if (failure !== undefined) return throwError(() => failure);
    // oxlint-disable-next-line promise/valid-params -- it is no promise
    return super.catch(error as RpcException, host);
  }
}

/** Validates payloads, and tells callers what is wrong with them. */
export const validation = new ValidationPipe({
  transform: true,
  whitelist: true,
  exceptionFactory: (errors) => {
    const problems = errors.flatMap(({ property, constraints }) => Object.values(constraints ?? { property }));
    return new RpcException({ code: 'INVALID', message: problems.join('; ') });
  },
});
