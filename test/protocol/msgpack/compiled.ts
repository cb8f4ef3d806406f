import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import ts from 'typescript';

/**
 * Runs `script`, an ES module beside the compiled `protocol/`, in a Node process of its own, for what a test cannot do
 * to itself. Returns what it printed; fails when the process does.
 */
export function runCompiled(script: string, nodeOptions: readonly string[] = [], env: NodeJS.ProcessEnv = {}): string {
  const folder = mkdtempSync(join(tmpdir(), 'gen-rpc-'));
  try {
    const source = resolve(import.meta.dirname, '../../../lib/protocol');
    const files = readdirSync(source, { recursive: true, encoding: 'utf8' });
    for (const file of files.filter((name) => name.endsWith('.ts'))) {
      const { outputText } = ts.transpileModule(readFileSync(join(source, file), 'utf8'), {
        compilerOptions: { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2023 },
      });
      const target = join(folder, 'protocol', file.replace(/\.ts$/, '.js'));
      mkdirSync(dirname(target), { recursive: true });
      writeFileSync(target, outputText);
    }
    writeFileSync(join(folder, 'package.json'), '{"type":"module"}');
    writeFileSync(join(folder, 'script.js'), script);
    symlinkSync(resolve(import.meta.dirname, '../../../node_modules'), join(folder, 'node_modules'), 'junction');
    const options = { cwd: folder, env: { ...process.env, ...env }, encoding: 'utf8', timeout: 15_000 } as const;
    return execFileSync(process.execPath, [...nodeOptions, 'script.js'], options).trim();
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
