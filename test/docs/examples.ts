/** Runs the code of a page as a user would: compiled strictly against the built package, in a process of its own. */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import ts from 'typescript';
import { ROOT } from './pages.js';

const run = promisify(execFile);

/** What the checks are made of; in front of the page's own code. */
const PRELUDE = `
import { deepStrictEqual, rejects } from 'node:assert';
let checks = 0;
function gives(line: string, actual: unknown, expected: unknown): void {
  deepStrictEqual(actual, expected, line);
  checks += 1;
}
async function throws(line: string, attempt: () => Promise<unknown>, code: string): Promise<void> {
  await rejects(attempt, { code }, line);
  checks += 1;
}
`;

/** How many results the code shows. */
export function resultsIn(code: string): number {
  return [...code.matchAll(/\/\/ (→|throws) /g)].length;
}

/** `f(); // → 42` becomes a check that it gives 42, `f(); // throws timeout` one that it fails so. */
function checked(code: string): string {
  return code
    .split('\n')
    .map((line) => {
      const [, indent = '', expression, word, expected = ''] = /^(\s*)(.*); \/\/ (→|throws) (.*)$/.exec(line) ?? [];
      if (expression === undefined) return line;
      const shown = JSON.stringify(line.trim());
      if (word === '→') return `${indent}gives(${shown}, ${expression}, ${expected});`;
      return `${indent}await throws(${shown}, async () => ${expression}, '${expected}');`;
    })
    .join('\n');
}

/** Strictly, as a user's project would be. @returns what the compiler has to say. */
export function compile(files: readonly string[]): string[] {
  const program = ts.createProgram(files, {
    strict: true,
    target: ts.ScriptTarget.ES2023,
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
    experimentalDecorators: true,
    emitDecoratorMetadata: true,
    skipLibCheck: true,
    types: ['node'],
    typeRoots: [join(ROOT, 'node_modules/@types')],
  });
  const { diagnostics } = program.emit();
  return [...ts.getPreEmitDiagnostics(program), ...diagnostics].map(({ messageText, file, start = 0 }) => {
    const line = file === undefined ? '' : (file.text.slice(0, start).split('\n').length - 1).toString();
    return `${line}: ${ts.flattenDiagnosticMessageText(messageText, '\n')}`;
  });
}

/** The files of an example, compiled together in a folder inside the project, so that the package is found by its name. */
export class Example {
  private constructor(readonly folder: string) {}

  /** @throws Error with what the compiler has to say. */
  static async compile(files: Readonly<Record<string, string>>): Promise<Example> {
    const example = new Example(await mkdtemp(join(ROOT, 'dist-docs-')));
    const paths = Object.keys(files).map((name) => join(example.folder, name));
    await Promise.all(Object.values(files).map((code, at) => writeFile(paths[at] ?? '', code)));
    const problems = compile(paths);
    if (problems.length === 0) return example;
    await example[Symbol.asyncDispose]();
    throw new Error(problems.join('\n'));
  }

  /** Resolves with what the script printed once it has ended. */
  async run(script: string, env: NodeJS.ProcessEnv): Promise<string> {
    const { stdout } = await run(process.execPath, [join(this.folder, script)], {
      env: { ...process.env, ...env },
      timeout: 20_000,
    });
    return stdout.trim();
  }

  /** Starts a script that goes on until it is told to end. */
  start(script: string, env: NodeJS.ProcessEnv): RunningScript {
    const stdio = ['ignore', 'pipe', 'inherit'] as const;
    return new RunningScript(
      spawn(process.execPath, [join(this.folder, script)], { env: { ...process.env, ...env }, stdio: [...stdio] }),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.folder, { recursive: true });
  }
}

export class RunningScript {
  constructor(readonly process: ChildProcess) {}

  /** Resolves with the first line of what it prints that matches. */
  async line(wanted: RegExp): Promise<string> {
    const { stdout } = this.process;
    if (stdout === null) throw new Error('Its output is not read.');
    for await (const line of createInterface(stdout)) if (wanted.test(line)) return line;
    throw new Error(`It ended without a line that matches ${String(wanted)}.`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const gone = once(this.process, 'exit');
    if (this.process.exitCode !== null || !this.process.kill('SIGKILL')) return;
    await gone;
  }
}

/** The page's code as one program, which prints how many results it has checked. */
export function programOf(snippets: readonly string[]): string {
  return `${PRELUDE}${snippets.map(checked).join('\n')}\nconsole.log(checks);\n`;
}
