/** Between Nest's errors and ours, in both directions. */
import { Catch, HttpException, type ExceptionFilter } from '@nestjs/common';
import { RpcException } from '@nestjs/microservices';
import { throwError, type Observable } from 'rxjs';
import { GenRpcError, isGenRpcError } from '../protocol/errors.js';

/** Nest's own words for an unknown pattern. */
const NO_MESSAGE_HANDLER = 'There is no matching message handler defined in the remote service.';

/**
 * What Nest's filters make of an error is meant for callers: it becomes message and details of our error. `undefined`
 * for any other Error than an RpcException: a filter failed, or let through what it did not look at.
 */
export function failureOfNest(cause: unknown): GenRpcError | undefined {
  try {
    if (cause instanceof Error && !(cause instanceof RpcException)) return undefined;
    const said = cause instanceof RpcException ? cause.getError() : cause;
    const details = typeof said === 'string' && said !== cause ? { status: 'error', message: said } : said;
    return new GenRpcError('handler_failed', messageOf(said) ?? 'The handler failed.', { details, cause });
  } catch {
    // Some values throw when they are looked at.
    return undefined;
  }
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
