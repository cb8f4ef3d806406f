/** Knows what other services were asked. They tell it by an interceptor, and wait for nothing. */
import { type CallHandler, Controller, type ExecutionContext, Inject, Injectable, Module } from '@nestjs/common';
import type { NestInterceptor } from '@nestjs/common';
import { ClientProxy, EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import { finalize, type Observable, tap } from 'rxjs';

export interface Entry {
  pattern: string;
  items: number;
}

@Controller()
class AuditController {
  private readonly entries: Entry[] = [];

  @EventPattern('audit.note')
  note(@Payload() entry: Entry): void {
    this.entries.push(entry);
  }

  @MessagePattern({ cmd: 'audit.list' })
  list(@Payload('about') about: string): Entry[] {
    return this.entries.filter(({ pattern }) => pattern.includes(about));
  }
}

@Module({ controllers: [AuditController] })
export class AuditModule {}

/** Tells audit what was asked, and how many values were answered. */
@Injectable()
export class AuditInterceptor implements NestInterceptor {
  constructor(@Inject('audit') private readonly audit: ClientProxy) {}

  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    const pattern = context.switchToRpc().getContext<{ getPattern(): string }>().getPattern();
    let items = 0;
    return next.handle().pipe(
      tap(() => (items += 1)),
      finalize(() => this.audit.emit('audit.note', { pattern, items } satisfies Entry)),
    );
  }
}
