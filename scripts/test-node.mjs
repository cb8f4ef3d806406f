// Runs the tests on another version of Node: `npm run test:node -- 24 test/driver`, with arguments for Vitest behind it.
import { spawnSync } from 'node:child_process';
import { nodeOf } from './node-binary.mjs';

const [wanted, ...rest] = process.argv.slice(2);
if (wanted === undefined || !/^\d+(\.\d+){0,2}$/.test(wanted)) {
  console.error('Which version of Node? npm run test:node -- 24 [arguments for Vitest]');
  process.exit(2);
}
const { version, binary, environment: env } = nodeOf(wanted);
console.log(`Node ${version}`);
const { status } = spawnSync(binary, ['node_modules/vitest/vitest.mjs', 'run', ...rest], { stdio: 'inherit', env });
process.exitCode = status ?? 1;
