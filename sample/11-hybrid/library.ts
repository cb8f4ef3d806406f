/** One application, three doors: HTTP, Nest's TCP transport, and this library. Handlers do not know by which one came in. */
import { Controller, Get, Module, Param, ParseIntPipe } from '@nestjs/common';
import { EventPattern, MessagePattern, Payload, Transport } from '@nestjs/microservices';
import { GEN_RPC_TRANSPORT, GenRpcModule } from 'nestjs-gen-rpc';
import { secret } from '../secret.js';

export const LIBRARY = 'library@127.0.0.1';

export interface Book {
  id: number;
  title: string;
}

const BOOKS: readonly Book[] = [
  { id: 1, title: 'Ulysses' },
  { id: 2, title: 'Emma' },
  { id: 3, title: 'Momo' },
];

@Controller('books')
class BooksController {
  private returned = 0;

  @Get(':id')
  show(@Param('id', ParseIntPipe) id: number): Book | string {
    return this.find(id);
  }

  /** Bound to every strategy of the application. */
  @MessagePattern('books.find')
  find(@Payload('id', ParseIntPipe) id: number): Book | string {
    return BOOKS.find((book) => book.id === id) ?? 'no such book';
  }

  /** From whichever side it comes. */
  @EventPattern('book.returned')
  takeBack(@Payload() _book: Partial<Book>): void {
    this.returned += 1;
  }

  @MessagePattern('books.returned')
  countReturned(): number {
    return this.returned;
  }

  /** Only for those who have moved already. */
  @MessagePattern('books.all', GEN_RPC_TRANSPORT)
  async *all(): AsyncGenerator<Book> {
    yield* BOOKS;
  }

  /** Only for those who have not. */
  @MessagePattern('books.list', Transport.TCP)
  list(): readonly Book[] {
    return BOOKS;
  }
}

@Module({
  imports: [GenRpcModule.forRoot({ name: LIBRARY, secret, listen: { port: 0 } })],
  controllers: [BooksController],
})
export class LibraryModule {}
