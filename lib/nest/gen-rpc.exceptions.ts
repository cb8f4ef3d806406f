/** Between Nest's errors and ours, in both directions. */
import { Catch, HttpException, type ExceptionFilter } from '@nestjs/common';
import { throwError, type Observable } from 'rxjs';
import { GenRpcError, isGenRpcError } from '../protocol/errors.js';

/** Nest's own words for an unknown pattern. */
const NO_MESSAGE_HANDLER = 'There is no matching message handler defined in the remote service.';

/**
 * What Nest's filters let through is meant for callers: it becomes message and details of our error. `undefined` for a
 * call of the handler's own that failed, which is an accident.
 */
export function failureOfNest(cause: unknown): GenRpcError | undefined {
  if (isGenRpcError(cause)) return undefined;
  const message = messageOf(cause) ?? 'The handler failed.';
  return new GenRpcError('handler_failed', message, { details: cause instanceof Error ? undefined : cause, cause });
}

/** What a `ClientProxy` of Nest throws for an error: the handler's own object, text for an unknown pattern, a system code. */
export function nestErrorOf(error: GenRpcError): unknown {
  switch (error.code) {
    case 'handler_failed':
      return error.details ?? { status: 'error', message: error.message };
    case 'undefined_function':
      return NO_MESSAGE_HANDLER;
    case 'node_down': {
      const code = (error.details as { cause?: unknown } | undefined)?.cause;
      return typeof code === 'string' ? Object.assign(new Error(error.message, { cause: error }), { code }) : error;
    }
    default:
      return error;
  }
}

/** Lets callers of `@RpcModule` functions see what an HttpException, and so a failed validation, says; and our own error. */
@Catch(HttpException, GenRpcError)
export class RpcModuleFilter implements ExceptionFilter<HttpException | GenRpcError> {
  catch(exception: HttpException | GenRpcError): Observable<never> {
    if (isGenRpcError(exception)) return throwError(() => exception);
    const response = exception.getResponse();
    const said = typeof response === 'object' ? response : { message: response };
    const details = { statusCode: exception.getStatus(), ...said };
    return throwError(() => new GenRpcError('handler_failed', exception.message, { details }));
  }
}

function messageOf(cause: unknown): string | undefined {
  if (typeof cause === 'string') return cause;
  const message = typeof cause === 'object' && cause !== null ? (cause as { message?: unknown }).message : undefined;
  return typeof message === 'string' ? message : undefined;
}
