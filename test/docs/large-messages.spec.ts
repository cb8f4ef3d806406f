/** docs/LARGE_MESSAGES.md: this Node knows the argument that it recommends, on the command line and in code. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { buffers } from '../../bench/workloads/buffers.js';
import { Example } from './examples.js';
import { Page } from './pages.js';

const run = promisify(execFile);
const page = await Page.read('docs/LARGE_MESSAGES.md');
const [argument = ''] = /--heap-\S+=\d+/.exec(page.text) ?? [];

describe('docs/LARGE_MESSAGES.md', () => {
  it('recommends an argument that Node knows', async () => {
    const script = ['-e', 'console.log(process.execArgv[0])'];
    const { stdout } = await run(process.execPath, [argument, ...script]);
    expect(stdout.trim()).toBe(argument);
    await expect(run(process.execPath, [argument.replace('heap', 'heaps'), ...script])).rejects.toThrow('bad option');
  });

  it('recommends what is measured', () => {
    expect(buffers.nodeArgs).toEqual([argument]);
  });

  it('shows code that says the same while a process runs', { timeout: 60_000 }, async () => {
    const [code = ''] = page.snippets('ts');
    expect(code).toContain(`'${argument}'`);
    await using example = await Example.compile({ 'main.ts': `${code}console.log('runs');` });
    expect(await example.run('main.js', {})).toBe('runs');
  });
});
