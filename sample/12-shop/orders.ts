/** Takes orders: asks for the price, reserves, charges, and tells who wants to know. */
import { Controller, Inject, Module, UseInterceptors, UsePipes } from '@nestjs/common';
import { ClientProxy, MessagePattern, Payload } from '@nestjs/microservices';
import { firstValueFrom, from, type Observable } from 'rxjs';
import { AuditInterceptor } from './audit.js';
import { ShopError, validation } from './failures.js';
import { NewOrder, type Order } from './order.js';
import { TOKEN } from './payments.js';
import { clientsOf } from './transport.js';

@UseInterceptors(AuditInterceptor)
@Controller()
class OrdersController {
  private readonly orders: Order[] = [];

  constructor(
    @Inject('stock') private readonly stock: ClientProxy,
    @Inject('prices') private readonly prices: ClientProxy,
    @Inject('payments') private readonly payments: ClientProxy,
    @Inject('mail') private readonly mail: ClientProxy,
  ) {}

  @UsePipes(validation)
  @MessagePattern({ cmd: 'orders.place' })
  async place(@Payload() { customer, card, lines }: NewOrder): Promise<Order> {
    const total = await firstValueFrom(this.prices.send<number>({ cmd: 'prices.total' }, { lines }));
    await firstValueFrom(this.stock.send({ cmd: 'stock.reserve' }, { lines }), { defaultValue: undefined });
    const charge = this.payments.send<string>({ cmd: 'payments.charge' }, { token: TOKEN, card, amount: total });
    const receipt = await firstValueFrom(charge).catch(async (error: unknown) => {
      await firstValueFrom(this.stock.send({ cmd: 'stock.release' }, { lines }), { defaultValue: undefined });
      throw error;
    });
    const order = { id: this.orders.length + 1, customer, total, receipt };
    this.orders.push(order);
    this.mail.emit('order.placed', order);
    return order;
  }

  @MessagePattern({ cmd: 'orders.find' })
  find(@Payload('id') id: number): Order {
    const order = this.orders[id - 1];
    if (order === undefined) throw new ShopError('UNKNOWN', `There is no order ${id}.`);
    return order;
  }

  /** All orders of a customer, one by one. */
  @MessagePattern({ cmd: 'orders.of' })
  of(@Payload('customer') customer: string): Observable<Order> {
    return from(this.orders.filter((order) => order.customer === customer));
  }
}

@Module({
  imports: [clientsOf('stock', 'prices', 'payments', 'mail', 'audit')],
  controllers: [OrdersController],
})
export class OrdersModule {}
