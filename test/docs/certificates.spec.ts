/** docs/CERTIFICATES.md: its commands are run, and its code with what they have made. */
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { GenRpcConfigError } from '../../lib/options/config-error.js';
import { createNode } from '../../lib/node/create-node.js';
import { Example, programOf, resultsIn } from './examples.js';
import { Page, ROOT } from './pages.js';

const page = await Page.read('docs/CERTIFICATES.md');
const COOKIE = randomBytes(32).toString('base64');

it('docs/CERTIFICATES.md shows commands that make what its code works with', { timeout: 60_000 }, async () => {
  const code = page.snippets('ts');
  // An address of this machine on which nobody else listens.
  const [one = 0, other = 0] = randomBytes(2);
  const here = (text: string): string => text.replaceAll('127.0.0.1', `127.${one % 250}.${other}.9`);
  const place = 'tls: certificatesOf(name)';
  const program = here(programOf(code)).replace(place, `${place}, listen: { host: name.split('@')[1]! }`);
  expect(program).toContain('listen: { host');
  await using example = await Example.compile({ 'page.ts': `${program}\nprocess.exit();` });
  const env = { ...process.env, COOKIE };
  for (const command of page.snippets('sh').join('\n').trim().split('\n')) {
    const [, args = ''] = command.split('npx nestjs-gen-rpc ');
    execFileSync(process.execPath, [join(ROOT, 'dist/esm/cli/main.js'), ...here(args).split(' ')], {
      ...{ cwd: example.folder, env, encoding: 'utf8', stdio: 'pipe' },
    });
  }
  const said = execFileSync(process.execPath, [join(example.folder, 'page.js')], { cwd: example.folder, env });
  expect(said.toString().trim()).toBe(String(resultsIn(code.join('\n'))));
});

it('docs/CERTIFICATES.md shows the error that a node without files gets', () => {
  const name = 'orders@orders-1.example';
  const tls = { cert: `certs/${name}.pem`, key: `certs/${name}.key`, ca: `certs/ca.pem` };
  try {
    createNode({ name, secret: COOKIE, tls });
    expect.unreachable();
  } catch (error) {
    const { message } = error as GenRpcConfigError;
    const [, ...lines] = page.snippets('text').join('\n').trim().split('\n');
    expect(lines).toHaveLength(2);
    for (const line of lines) expect(message).toContain(line);
  }
});
