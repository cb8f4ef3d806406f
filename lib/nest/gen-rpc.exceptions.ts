/** Between Nest's errors and ours, in both directions. */
import { Catch, HttpException, type ExceptionFilter } from '@nestjs/common';
import { RpcException } from '@nestjs/microservices';
import { throwError, type Observable } from 'rxjs';
import { GenRpcError, isGenRpcError } from '../protocol/errors.js';

/** Nest's own words for an unknown pattern. */
const NO_MESSAGE_HANDLER = 'There is no matching message handler defined in the remote service.';

/** As much as a line of a log is good for. */
const MAX_FOUND = 5;

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

/** Also one of another copy of this package. */
abstract class AnyGenRpcError {
  static [Symbol.hasInstance](value: unknown): boolean {
    return isGenRpcError(value);
  }
}

/** Lets callers of `@RpcModule` functions see what an HttpException, and so a failed validation, says; and our own error. */
@Catch(HttpException, AnyGenRpcError)
export class RpcModuleFilter implements ExceptionFilter<HttpException | GenRpcError> {
  catch(exception: HttpException | GenRpcError): Observable<never> {
    if (isGenRpcError(exception)) return throwError(() => exception);
    const response = exception.getResponse();
    const said = typeof response === 'object' ? response : { message: response };
    const details = { statusCode: exception.getStatus(), ...said };
    return throwError(() => new GenRpcError('handler_failed', inWords(exception.message, said), { details }));
  }
}

/** What a pipe found wrong stands in a list of its own: the first of it belongs where people look first. */
function inWords(message: string, said: object): string {
  const found: unknown = 'message' in said ? said.message : undefined;
  if (!Array.isArray(found) || !found.every((one) => typeof one === 'string') || found.length === 0) return message;
  const more = found.length > MAX_FOUND ? `; and ${found.length - MAX_FOUND} more` : '';
  return `${message}: ${found.slice(0, MAX_FOUND).join('; ')}${more}`;
}

function messageOf(cause: unknown): string | undefined {
  if (typeof cause === 'string') return cause;
  const message = typeof cause === 'object' && cause !== null ? (cause as { message?: unknown }).message : undefined;
  return typeof message === 'string' ? message : undefined;
}
