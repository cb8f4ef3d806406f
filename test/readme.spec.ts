import { execFile, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import ts from 'typescript';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const root = join(import.meta.dirname, '..');
const run = promisify(execFile);
const env = { ...process.env, COOKIE: randomBytes(32).toString('base64') };
let folder: string;

/** The snippet behind a sentence that names its file, as the README prints it. */
async function snippet(file: string): Promise<string> {
  const readme = await readFile(join(root, 'README.md'), 'utf8');
  const code = new RegExp(`\`${file}\`:\n\n\`\`\`ts\n([^]*?)\`\`\``).exec(readme)?.[1];
  if (code === undefined) throw new Error(`The README shows no ${file}.`);
  return code;
}

/** Strictly, as a user's project would be; returns what the compiler has to say. */
function compile(files: readonly string[]): string[] {
  const program = ts.createProgram(files, {
    strict: true,
    target: ts.ScriptTarget.ES2023,
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
    experimentalDecorators: true,
    emitDecoratorMetadata: true,
    skipLibCheck: true,
    types: ['node'],
    typeRoots: [join(root, 'node_modules/@types')],
  });
  const { diagnostics } = program.emit();
  return [...ts.getPreEmitDiagnostics(program), ...diagnostics].map(({ messageText }) => {
    return ts.flattenDiagnosticMessageText(messageText, '\n');
  });
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

describe("the README's first example", () => {
  beforeAll(async () => {
    // Inside the project, so that the package is found by its own name.
    folder = await mkdtemp(join(root, 'dist-readme-'));
    for (const file of ['math.ts', 'caller.ts']) await writeFile(join(folder, file), await snippet(file));
  });

  afterAll(() => rm(folder, { recursive: true }));

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
