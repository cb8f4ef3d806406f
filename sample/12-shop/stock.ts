/** What is on the shelves. */
import { Controller, Injectable, Module, type PipeTransform, UsePipes } from '@nestjs/common';
import { MessagePattern, Payload } from '@nestjs/microservices';
import { Type } from 'class-transformer';
import { IsInt, IsString, Min, ValidateNested } from 'class-validator';
import { ShopError, validation } from './failures.js';

export class Line {
  @IsString()
  goods!: string;

  @IsInt()
  @Min(1)
  count!: number;
}

export class Lines {
  @ValidateNested({ each: true })
  @Type(() => Line)
  lines!: Line[];
}

/** `' Tea '` is tea. */
@Injectable()
export class GoodsPipe implements PipeTransform<string, string> {
  transform(goods: string): string {
    return String(goods).trim().toLowerCase();
  }
}

@Controller()
class StockController {
  private readonly shelves = new Map([
    ['tea', 100],
    ['rice', 100],
    ['unicorn', 0],
  ]);

  @MessagePattern({ cmd: 'stock.count' })
  count(@Payload('goods', GoodsPipe) goods: string): number {
    return this.shelves.get(goods) ?? 0;
  }

  /** All of it, or nothing. */
  @UsePipes(validation)
  @MessagePattern({ cmd: 'stock.reserve' })
  reserve(@Payload() { lines }: Lines): void {
    for (const { goods, count } of lines) {
      const left = this.shelves.get(goods) ?? 0;
      if (left < count) throw new ShopError('OUT_OF_STOCK', `There is not enough ${goods}: ${left} left.`);
    }
    this.add(lines, -1);
  }

  @UsePipes(validation)
  @MessagePattern({ cmd: 'stock.release' })
  release(@Payload() { lines }: Lines): void {
    this.add(lines, 1);
  }

  private add(lines: readonly Line[], sign: 1 | -1): void {
    for (const { goods, count } of lines) this.shelves.set(goods, (this.shelves.get(goods) ?? 0) + sign * count);
  }
}

@Module({ controllers: [StockController] })
export class StockModule {}
