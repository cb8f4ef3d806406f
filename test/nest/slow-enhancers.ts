/** A guard and an interceptor that take a turn of the loop each: what a handler runs for has to outlive both. */
import {
  applyDecorators,
  Injectable,
  UseGuards,
  UseInterceptors,
  type CallHandler,
  type CanActivate,
  type ExecutionContext,
  type NestInterceptor,
} from '@nestjs/common';
import { from, switchMap, tap, type Observable } from 'rxjs';

/** For a controller. @param look is called in each of them, behind the interceptor too, with where that is */
export function SlowEnhancers(look: (where: string) => void = () => {}): ClassDecorator {
  @Injectable()
  class SlowGuard implements CanActivate {
    async canActivate(): Promise<boolean> {
      await new Promise((resolve) => setImmediate(resolve));
      look('guard');
      return true;
    }
  }

  @Injectable()
  class SlowInterceptor implements NestInterceptor {
    intercept(_: ExecutionContext, next: CallHandler): Observable<unknown> {
      look('interceptor');
      return from(new Promise((resolve) => setImmediate(resolve))).pipe(
        switchMap(() => next.handle()),
        tap(() => look('behind the interceptor')),
      );
    }
  }

  return applyDecorators(UseGuards(SlowGuard), UseInterceptors(SlowInterceptor));
}
