/** An order, as services tell each other of it. */
import { Type } from 'class-transformer';
import { ArrayNotEmpty, IsInt, IsNumber, IsString, ValidateNested } from 'class-validator';
import { Line } from './stock.js';

export class NewOrder {
  @IsString()
  customer!: string;

  @IsString()
  card!: string;

  @ArrayNotEmpty()
  @ValidateNested({ each: true })
  @Type(() => Line)
  lines!: Line[];
}

export class Order {
  @IsInt()
  id!: number;

  @IsString()
  customer!: string;

  @IsNumber()
  total!: number;

  @IsString()
  receipt!: string;
}
