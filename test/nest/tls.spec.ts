import { Controller } from '@nestjs/common';
import { Ctx, MessagePattern } from '@nestjs/microservices';
import { firstValueFrom } from 'rxjs';
import { expect, it } from 'vitest';
import type { GenRpcContext } from '../../lib/nest/gen-rpc.context.js';
import { authority, LOOPBACK_TLS } from '../support/tls.js';
import { pairOf } from './support.js';

@Controller()
class Visitors {
  @MessagePattern('who')
  who(@Ctx() context: GenRpcContext): unknown {
    const { subject, names, fingerprint, validTo } = context.getCertificate() ?? {};
    return { node: context.getNode(), subject, names, fingerprint, left: Number(validTo) - Date.now() > 0 };
  }
}

it('Nest applications talk over TLS, and a handler sees whose certificate the caller showed', async () => {
  const { cert, key } = await (await authority()).issue('web@127.0.0.1', { commonName: 'The shop' });
  const options = { tls: LOOPBACK_TLS };
  await using pair = await pairOf(
    { controllers: [Visitors], options },
    { name: 'web@127.0.0.1', tls: { ...LOOPBACK_TLS, cert, key } },
  );
  await expect(firstValueFrom(pair.caller.send('who', {}))).resolves.toEqual({
    node: 'web@127.0.0.1',
    subject: 'CN=The shop',
    names: ['IP Address:127.0.0.1', 'URI:genrpc:web@127.0.0.1'],
    fingerprint: expect.stringMatching(/^([0-9A-F]{2}:){31}[0-9A-F]{2}$/),
    left: true,
  });
});

it('without TLS there is none to be seen', async () => {
  await using pair = await pairOf({ controllers: [Visitors] }, { name: 'web@127.0.0.1' });
  await expect(firstValueFrom(pair.caller.send('who', {}))).resolves.toEqual({ node: 'web@127.0.0.1', left: false });
});
