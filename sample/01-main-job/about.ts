/** What every node of this shop can do, so that all of them can be asked at once. */
import { EventPattern, Payload } from '@nestjs/microservices';
import { RpcFunction, RpcModule } from 'nestjs-gen-rpc';

@RpcModule('about')
export class AboutController {
  private readonly news: string[] = [];

  @RpcFunction()
  pid(): number {
    return process.pid;
  }

  @EventPattern('news')
  hear(@Payload() text: string): void {
    this.news.push(text);
  }

  @RpcFunction()
  listNews(): string[] {
    return this.news;
  }
}
