/** Writes to customers when something has happened. Nobody waits for it. */
import { Controller, Module, ParseArrayPipe, UsePipes } from '@nestjs/common';
import { EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import { validation } from './failures.js';
import { Order } from './order.js';

@Controller()
class MailController {
  private readonly letters: string[] = [];

  @UsePipes(validation)
  @EventPattern('order.placed')
  placed(@Payload() { id, customer, total }: Order): void {
    this.letters.push(`Dear ${customer}, your order ${id} costs ${total.toFixed(2)}.`);
  }

  @MessagePattern({ cmd: 'mail.to' })
  list(@Payload('customers', ParseArrayPipe) customers: string[]): string[] {
    return this.letters.filter((letter) => customers.some((customer) => letter.startsWith(`Dear ${customer},`)));
  }
}

@Module({ controllers: [MailController] })
export class MailModule {}
