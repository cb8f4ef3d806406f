/** Two ways to check what arrives: arguments one by one, and a whole DTO. What is wrong with it reaches the caller. */
import { Controller, Module, ParseIntPipe, UsePipes, type ValidationError, ValidationPipe } from '@nestjs/common';
import { MessagePattern, Payload, RpcException } from '@nestjs/microservices';
import { IsInt, IsString, MaxLength, Min } from 'class-validator';
import { Arg, GenRpcModule, RpcFunction, RpcModule } from 'nestjs-gen-rpc';
import { secret } from '../secret.js';

export const SHELF = 'shelf@127.0.0.1';

class Box {
  @IsString()
  @MaxLength(10)
  goods!: string;

  @IsInt()
  @Min(1)
  count!: number;

  label(): string {
    return `${this.count} of ${this.goods}`;
  }
}

/** In a module of functions, a failed validation is for callers, as an HttpException is. */
@RpcModule('shelf')
class ShelfController {
  /** What arrives is plain data; `transform` makes it the class that it says it is. */
  @UsePipes(new ValidationPipe({ transform: true, forbidNonWhitelisted: true, whitelist: true }))
  @RpcFunction()
  put(@Arg(0) box: Box): string {
    return box.label();
  }

  @RpcFunction()
  take(@Arg(0) goods: string, @Arg(1, ParseIntPipe) count: number): string {
    return `${count} of ${goods}, ${typeof count}`;
  }
}

/** In a plain controller only an RpcException is, as with Nest's own transports. */
@Controller()
class PlainController {
  @UsePipes(new ValidationPipe())
  @MessagePattern('plain.hidden')
  hidden(@Payload() box: Box): Box {
    return box;
  }

  @UsePipes(new ValidationPipe({ exceptionFactory: (errors) => new RpcException(textsOf(errors)) }))
  @MessagePattern('plain.told')
  told(@Payload() box: Box): Box {
    return box;
  }
}

/** Field by field. */
function textsOf(errors: readonly ValidationError[]): object {
  return Object.fromEntries(errors.map(({ property, constraints = {} }) => [property, Object.values(constraints)]));
}

@Module({
  imports: [GenRpcModule.forRoot({ name: SHELF, secret, listen: { port: 0 } })],
  controllers: [ShelfController, PlainController],
})
export class ShelfModule {}
