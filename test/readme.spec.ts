import { execFile, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { compile } from './docs/examples.js';
import { Page, ROOT } from './docs/pages.js';

const run = promisify(execFile);
const env = { ...process.env, COOKIE: randomBytes(32).toString('base64') };
let folder: string;

const readme = await Page.read('README.md');
const guide = await Page.read('docs/GUIDE.md');

/** Starts the application of `app.module.ts`, and tells how long its certificates last. */
const BOOT = `
import { NestFactory } from '@nestjs/core';
import { GenRpcNode } from 'nestjs-gen-rpc';
import { AppModule } from './app.module.js';

const app = await NestFactory.createApplicationContext(AppModule, { logger: false });
const node = app.get(GenRpcNode);
console.log(node.name, node.stats().certificateDays);
await app.close();
`;

/** Starts the application of `web.module.ts`, and has its service add. */
const SUM = `
import { NestFactory } from '@nestjs/core';
import { SumService, WebModule } from './web.module.js';

const app = await NestFactory.createApplicationContext(WebModule, { logger: false });
console.log(await app.get(SumService).sum(20, 22));
await app.close();
`;

async function accepting(port: number): Promise<void> {
  for (;;) {
    const open = await new Promise<boolean>((resolve) => {
      const socket = connect({ port, host: '127.0.0.1' });
      socket.once('connect', () => (socket.destroy(), resolve(true)));
      socket.once('error', () => resolve(false));
    });
    if (open) return;
  }
}

describe('the code of README and tour', () => {
  beforeAll(async () => {
    // Inside the project, so that the package is found by its own name.
    folder = await mkdtemp(join(ROOT, 'dist-readme-'));
    for (const file of ['math.ts', 'caller.ts']) await writeFile(join(folder, file), readme.file(file));
  });

  afterAll(() => rm(folder, { recursive: true }));

  it.each([
    ['streams', ['stock.ts', 'reader.ts']],
    ['deadlines', ['orders.ts']],
    ['many nodes', ['cart.module.ts']],
  ])('shows %s by code that compiles strictly', { timeout: 60_000 }, async (_, files) => {
    for (const file of files) await writeFile(join(folder, file), guide.file(file));
    expect(compile(files.map((file) => join(folder, file)))).toEqual([]);
  });

  it('makes certificates by the commands shown, with which the node shown starts', { timeout: 60_000 }, async () => {
    const here = (text: string): string => text.replaceAll('10.0.0.1', '127.0.0.1');
    const commands = [...guide.text.matchAll(/^npx nestjs-gen-rpc (certs .*)$/gm)].map(([, args = '']) => here(args));
    expect(commands).toHaveLength(3);
    for (const args of commands) {
      await run(process.execPath, [join(ROOT, 'dist/esm/cli/main.js'), ...args.split(' ')], { cwd: folder });
    }
    await writeFile(join(folder, 'app.module.ts'), here(guide.file('app.module.ts')));
    await writeFile(join(folder, 'boot.ts'), BOOT);
    expect(compile(['app.module.ts', 'boot.ts'].map((file) => join(folder, file)))).toEqual([]);
    const { stdout } = await run(process.execPath, [join(folder, 'boot.js')], { env, cwd: folder });
    expect(stdout).toBe('orders@127.0.0.1 364\n');
  });

  it('is as short as it says, compiles strictly, and prints 42', { timeout: 60_000 }, async () => {
    expect(readme.file('math.ts').trimEnd().split('\n').length).toBeLessThanOrEqual(12);
    expect(readme.file('caller.ts').trimEnd().split('\n').length).toBeLessThanOrEqual(8);
    await writeFile(join(folder, 'web.module.ts'), readme.file('web.module.ts'));
    await writeFile(join(folder, 'sum.ts'), SUM);
    expect(compile(['math.ts', 'caller.ts', 'sum.ts'].map((file) => join(folder, file)))).toEqual([]);

    const server = spawn(process.execPath, [join(folder, 'math.js')], { env, stdio: 'ignore' });
    try {
      await accepting(5369);
      for (const caller of ['caller.js', 'sum.js']) {
        const { stdout } = await run(process.execPath, [join(folder, caller)], { env });
        expect(stdout).toBe('42\n');
      }
    } finally {
      server.kill('SIGKILL');
    }
    const later = run(process.execPath, [join(folder, 'caller.js')], { env });
    await expect(later).rejects.toMatchObject({ stderr: expect.stringContaining("code: 'ECONNREFUSED'") });
  });
});
