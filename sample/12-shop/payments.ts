/** Charges cards, for services that know the token. Every charge has a receipt of its own, made for its message. */
import {
  type CanActivate,
  Controller,
  type ExecutionContext,
  Inject,
  Injectable,
  Module,
  Scope,
  UseGuards,
  UsePipes,
} from '@nestjs/common';
import { CONTEXT, MessagePattern, Payload, type RequestContext } from '@nestjs/microservices';
import { IsNumber, IsPositive, IsString } from 'class-validator';
import { ShopError, validation } from './failures.js';

/** Known to services, and to nobody outside. */
export const TOKEN = 'only-for-services';

export class Charge {
  @IsString()
  token!: string;

  @IsString()
  card!: string;

  @IsNumber()
  @IsPositive()
  amount!: number;
}

@Injectable()
class TokenGuard implements CanActivate {
  canActivate(context: ExecutionContext): boolean {
    return context.switchToRpc().getData<Partial<Charge>>().token === TOKEN;
  }
}

/** One for each message: it reads what it is for from the message itself. */
@Injectable({ scope: Scope.REQUEST })
class Receipt {
  constructor(@Inject(CONTEXT) private readonly request: RequestContext<Charge>) {}

  text(): string {
    const { amount, card } = this.request.getData();
    return `${amount.toFixed(2)} from ${card}`;
  }
}

@UseGuards(TokenGuard)
@Controller()
class PaymentsController {
  constructor(@Inject(Receipt) private readonly receipt: Receipt) {}

  @UsePipes(validation)
  @MessagePattern({ cmd: 'payments.charge' })
  async charge(@Payload() { card, amount }: Charge): Promise<string> {
    // A bank takes its time; meanwhile others are charged.
    await new Promise((resolve) => setTimeout(resolve, 2));
    if (card === 'empty') throw new ShopError('DECLINED', `The bank does not give ${amount.toFixed(2)}.`);
    return this.receipt.text();
  }
}

@Module({ controllers: [PaymentsController], providers: [Receipt] })
export class PaymentsModule {}
