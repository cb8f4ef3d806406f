/** Arguments with a Standard Schema: Nest 12's pipe holds them against it, and Nest 11 has no such thing. */
import * as nest from '@nestjs/common';
import { describe, expect, it, vi } from 'vitest';
import { Arg, RpcFunction, RpcModule, type ArgOptions } from '../../lib/nest/gen-rpc.decorators.js';
import { NEST } from '../support/nest-version.js';
import { App, SERVER } from './support.js';

type Issue = { readonly message: string; readonly path?: readonly (string | { readonly key: string })[] };

/** A schema of nobody's library: it takes texts from `least` letters on, and makes them upper case. */
function textOf(least: number, at: string): NonNullable<ArgOptions['schema']> {
  const issue: Issue = { message: `at least ${least} letters`, path: [at, { key: 'length' }] };
  const validate = (value: unknown): { value: string } | { issues: Issue[] } => {
    return typeof value === 'string' && value.length >= least ? { value: value.toUpperCase() } : { issues: [issue] };
  };
  return { '~standard': { version: 1, vendor: 'a test', validate } };
}

/** Where it is called: with Nest 11 the decorator throws. */
function makeWords() {
  @RpcModule('words')
  class Words {
    @RpcFunction()
    join(
      @Arg(0, { schema: textOf(3, 'first') }) a: string,
      @Arg(1, { schema: textOf(2, 'second') }) b: string,
    ): string {
      return `${a} ${b}`;
    }

    @RpcFunction()
    trimmed(
      @Arg(0, { schema: textOf(2, 'only'), pipes: [{ transform: (text: string) => `${text}!` }] }) a: string,
    ): string {
      return a;
    }

    @RpcFunction()
    piped(@Arg(0, { pipes: [{ transform: (text: string) => `${text}?` }] }) a: string): string {
      return a;
    }
  }
  return Words;
}

type Words = InstanceType<ReturnType<typeof makeWords>>;

describe('an argument with a Standard Schema', () => {
  it.runIf(NEST >= 12)("is what the schema makes of it, or named field by field, by Nest's pipe", async () => {
    await using app = await App.start({
      controllers: [makeWords()],
      configure: (app) => void app.useGlobalPipes(new nest.StandardSchemaValidationPipe()),
    });
    const words = app.client().unwrap().module<Words>('words').at(SERVER);
    await expect(words.join('tea', 'or')).resolves.toBe('TEA OR');
    await expect(words.trimmed('tea')).resolves.toBe('TEA!');
    await expect(words.piped('tea')).resolves.toBe('tea?');
    await expect(words.join('tea', 'x')).rejects.toMatchObject({
      code: 'handler_failed',
      details: { statusCode: 400, error: 'Bad Request', message: ['second.length: at least 2 letters'] },
    });
  });

  it.runIf(NEST >= 12)('is not looked at without that pipe, as in Nest', async () => {
    await using app = await App.start({ controllers: [makeWords()] });
    await expect(app.client().unwrap().call(SERVER, 'words', 'join', ['t', 'x'])).resolves.toBe('t x');
  });

  it('is refused by the decorator where Nest would not keep the schema, as Nest 11 does not', async () => {
    if (NEST >= 12) behaveAs11();
    const { Arg: Arg11 } = await import('../../lib/nest/gen-rpc.decorators.js');
    vi.doUnmock('@nestjs/microservices');
    class Late {
      fn(_: unknown): void {}
    }
    const schema = textOf(1, 'text');
    expect(() => Arg11(1, { schema })(Late.prototype, 'fn', 0)).toThrow(
      '@Arg(1, { schema }): schemas of parameters need Nest 12.',
    );
    expect(() => Arg11(0, { pipes: [] })(Late.prototype, 'fn', 0)).not.toThrow();
    expect(() => Arg11(0)(Late.prototype, 'fn', 0)).not.toThrow();
  });
});

/** What is loaded from now on finds Nest 11's `Payload`: whatever stands behind the property is a pipe. */
function behaveAs11(): void {
  vi.resetModules();
  vi.doMock('@nestjs/microservices', async (original) => {
    const its = await original<typeof import('@nestjs/microservices')>();
    return { ...its, Payload: (property: string, ...pipes: never[]) => its.Payload(property, { pipes }) };
  });
}
