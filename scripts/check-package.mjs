// Packs the package and checks what a user would install: its exports (publint) and its types (attw).
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pack } from './pack.mjs';

const root = join(import.meta.dirname, '..');
const directory = mkdtempSync(join(tmpdir(), 'gen-rpc-package-'));
process.on('exit', () => rmSync(directory, { recursive: true, force: true }));

const tarball = pack(directory);
for (const check of [`publint run "${tarball}" --strict`, `attw "${tarball}" --format table-flipped`]) {
  const { status } = spawnSync(join(root, 'node_modules/.bin', check), { stdio: 'inherit', shell: true });
  if (status !== 0) process.exitCode = 1;
}
