import { execFile, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { compile } from './docs/examples.js';
import { ROOT } from './docs/pages.js';

const run = promisify(execFile);
const env = { ...process.env, COOKIE: randomBytes(32).toString('base64') };
let folder: string;

/** The snippet behind a sentence that names its file, as the README prints it. */
async function snippet(file: string): Promise<string> {
  const readme = await readFile(join(ROOT, 'README.md'), 'utf8');
  const code = new RegExp(`\`${file}\`:\n\n\`\`\`ts\n([^]*?)\`\`\``).exec(readme)?.[1];
  if (code === undefined) throw new Error(`The README shows no ${file}.`);
  return code;
}

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

describe("the README's code", () => {
  beforeAll(async () => {
    // Inside the project, so that the package is found by its own name.
    folder = await mkdtemp(join(ROOT, 'dist-readme-'));
    for (const file of ['math.ts', 'caller.ts']) await writeFile(join(folder, file), await snippet(file));
  });

  afterAll(() => rm(folder, { recursive: true }));

  it.each([
    ['streams', ['stock.ts', 'reader.ts']],
    ['deadlines', ['orders.ts']],
  ])('shows %s by code that compiles strictly', { timeout: 60_000 }, async (_, files) => {
    for (const file of files) await writeFile(join(folder, file), await snippet(file));
    expect(compile(files.map((file) => join(folder, file)))).toEqual([]);
  });

  it('is as short as it says, compiles strictly, and prints 42', { timeout: 60_000 }, async () => {
    expect((await snippet('math.ts')).trimEnd().split('\n').length).toBeLessThanOrEqual(12);
    expect((await snippet('caller.ts')).trimEnd().split('\n').length).toBeLessThanOrEqual(8);
    expect(compile(['math.ts', 'caller.ts'].map((file) => join(folder, file)))).toEqual([]);

    const server = spawn(process.execPath, [join(folder, 'math.js')], { env, stdio: 'ignore' });
    try {
      await accepting(5369);
      const { stdout } = await run(process.execPath, [join(folder, 'caller.js')], { env });
      expect(stdout).toBe('42\n');
    } finally {
      server.kill('SIGKILL');
    }
    const later = run(process.execPath, [join(folder, 'caller.js')], { env });
    await expect(later).rejects.toMatchObject({ stderr: expect.stringContaining("code: 'ECONNREFUSED'") });
  });
});
