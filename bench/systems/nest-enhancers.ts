/** A guard, a pipe and an interceptor that do little: what is measured is that they are there. */
import {
  applyDecorators,
  type CallHandler,
  type CanActivate,
  type ExecutionContext,
  Injectable,
  type NestInterceptor,
  type PipeTransform,
  UseGuards,
  UseInterceptors,
} from '@nestjs/common';
import { RpcException } from '@nestjs/microservices';
import { map, type Observable } from 'rxjs';

interface Pair {
  a: number;
  b: number;
}

@Injectable()
class PairGuard implements CanActivate {
  canActivate(context: ExecutionContext): boolean {
    return context.switchToRpc().getData<Pair>().a >= 0;
  }
}

@Injectable()
export class PairPipe implements PipeTransform<Pair, Pair> {
  transform({ a, b }: Pair): Pair {
    if (!Number.isInteger(a) || !Number.isInteger(b)) throw new RpcException('Two whole numbers are expected.');
    return { a, b };
  }
}

@Injectable()
class SumInterceptor implements NestInterceptor<number, number> {
  intercept(_: ExecutionContext, next: CallHandler<number>): Observable<number> {
    return next.handle().pipe(map(Number));
  }
}

/** The pipe stands at the parameter. */
export const Enhanced = (): ClassDecorator & MethodDecorator =>
  applyDecorators(UseGuards(PairGuard), UseInterceptors(SumInterceptor));
