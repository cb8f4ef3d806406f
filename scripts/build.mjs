// Builds the package from nothing: dist/esm and dist/cjs, by plain tsc.
import { spawnSync } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

process.chdir(join(import.meta.dirname, '..'));
rmSync('dist', { recursive: true, force: true });

const tsc = ['node_modules/typescript/bin/tsc', '-b', 'tsconfig.esm.json', 'tsconfig.cjs.json'];
const { status } = spawnSync(process.execPath, tsc, { stdio: 'inherit' });
if (status !== 0) process.exit(1);

writeFileSync('dist/cjs/package.json', '{ "type": "commonjs" }\n');
