/** What customers see: HTTP outside, messages inside. It listens for both, as a hybrid application. */
import {
  type ArgumentsHost,
  Body,
  Catch,
  Controller,
  Get,
  HttpException,
  Inject,
  Module,
  Param,
  ParseIntPipe,
  Post,
  Put,
  UseFilters,
  ValidationPipe,
} from '@nestjs/common';
import { BaseExceptionFilter } from '@nestjs/core';
import { ClientProxy, EventPattern, Payload } from '@nestjs/microservices';
import { type Observable, toArray } from 'rxjs';
import { type FailureCode, failureOf } from './failures.js';
import { NewOrder, type Order } from './order.js';
import { Price } from './prices.js';
import { GoodsPipe } from './stock.js';
import { clientsOf } from './transport.js';

const STATUS: Readonly<Record<FailureCode, number>> = {
  INVALID: 400,
  DECLINED: 402,
  UNKNOWN: 404,
  OUT_OF_STOCK: 409,
  UNAVAILABLE: 503,
};

/** Failures of services, in the words of HTTP. */
@Catch()
class StatusFilter extends BaseExceptionFilter {
  override catch(error: unknown, host: ArgumentsHost): void {
    const failure = failureOf(error);
    // oxlint-disable-next-line promise/valid-params -- it is no promise
    super.catch(failure === undefined ? error : new HttpException(failure, STATUS[failure.code]), host);
  }
}

@UseFilters(StatusFilter)
@Controller()
class GatewayController {
  private readonly shown = new Map<string, number>();

  constructor(
    @Inject('orders') private readonly orders: ClientProxy,
    @Inject('prices') private readonly prices: ClientProxy,
  ) {}

  @Post('orders')
  place(@Body(new ValidationPipe({ transform: true })) order: NewOrder): Observable<Order> {
    return this.orders.send<Order>({ cmd: 'orders.place' }, order);
  }

  @Get('orders/:id')
  find(@Param('id', ParseIntPipe) id: number): Observable<Order> {
    return this.orders.send<Order>({ cmd: 'orders.find' }, { id });
  }

  @Get('customers/:customer/orders')
  of(@Param('customer') customer: string): Observable<Order[]> {
    return this.orders.send<Order>({ cmd: 'orders.of' }, { customer }).pipe(toArray());
  }

  @Get('prices/:goods/:count')
  table(@Param('goods', GoodsPipe) goods: string, @Param('count', ParseIntPipe) count: number): Observable<number[]> {
    return this.prices.send<number>({ cmd: 'prices.table' }, { goods, count }).pipe(toArray());
  }

  @Put('prices')
  setPrice(@Body(new ValidationPipe({ transform: true })) price: Price): Observable<Price> {
    return this.prices.send<Price>({ cmd: 'prices.set' }, price);
  }

  /** As the last event told it. */
  @Get('prices/:goods')
  price(@Param('goods', GoodsPipe) goods: string): { price: number | null } {
    return { price: this.shown.get(goods) ?? null };
  }

  @EventPattern('price.changed')
  changed(@Payload() { goods, price }: Price): void {
    this.shown.set(goods, price);
  }
}

@Module({ imports: [clientsOf('orders', 'prices')], controllers: [GatewayController] })
export class GatewayModule {}
