/** What things cost. Changes are told to whoever shows prices. */
import { Controller, Inject, Injectable, Module, UsePipes } from '@nestjs/common';
import { type CallHandler, type ExecutionContext, type NestInterceptor, UseInterceptors } from '@nestjs/common';
import { ClientProxy, MessagePattern, Payload } from '@nestjs/microservices';
import { IsNumber, IsString, Min } from 'class-validator';
import { map, type Observable, range } from 'rxjs';
import { ShopError, validation } from './failures.js';
import { GoodsPipe, Lines } from './stock.js';
import { clientsOf } from './transport.js';

export class Price {
  @IsString()
  goods!: string;

  @IsNumber()
  @Min(0)
  price!: number;
}

/** Sums end in whole cents, each item of a stream too. */
@Injectable()
class CentsInterceptor implements NestInterceptor<number, number> {
  intercept(_: ExecutionContext, next: CallHandler<number>): Observable<number> {
    return next.handle().pipe(map((value) => Math.round(value * 100) / 100));
  }
}

@Controller()
class PricesController {
  private readonly prices = new Map([
    ['tea', 4.2],
    ['rice', 1.1],
    ['unicorn', 1e6],
  ]);

  constructor(@Inject('gateway') private readonly gateway: ClientProxy) {}

  @UseInterceptors(CentsInterceptor)
  @UsePipes(validation)
  @MessagePattern({ cmd: 'prices.total' })
  total(@Payload() { lines }: Lines): number {
    return lines.reduce((sum, { goods, count }) => sum + count * this.priceOf(goods), 0);
  }

  /** What 1, 2, … up to `count` of it cost, one by one. */
  @UseInterceptors(CentsInterceptor)
  @MessagePattern({ cmd: 'prices.table' })
  table(@Payload('goods', GoodsPipe) goods: string, @Payload('count') count: number): Observable<number> {
    const price = this.priceOf(goods);
    return range(1, count).pipe(map((n) => n * price));
  }

  @UsePipes(validation)
  @MessagePattern({ cmd: 'prices.set' })
  set(@Payload() price: Price): Price {
    this.prices.set(price.goods, price.price);
    this.gateway.emit('price.changed', price);
    return price;
  }

  private priceOf(goods: string): number {
    const price = this.prices.get(goods);
    if (price === undefined) throw new ShopError('UNKNOWN', `Nobody sells ${goods}.`);
    return price;
  }
}

@Module({ imports: [clientsOf('gateway')], controllers: [PricesController] })
export class PricesModule {}
