// Installs the packed package into fresh Nest 11 and Nest 12 apps, ESM and CommonJS, and lets one call another, on each
// version of Node that it is for. Then it runs the specs of our Nest side with Nest 11.
import { exec } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { nodeOf } from './node-binary.mjs';
import { pack } from './pack.mjs';

const repository = join(import.meta.dirname, '..');
const root = mkdtempSync(join(tmpdir(), 'gen-rpc-compat-'));
process.on('exit', () => rmSync(root, { recursive: true, force: true, maxRetries: 5 }));

/** Beside the Node that runs this: the oldest of those that package.json names, and the newest. */
const NODES = ['20.19.0', '22.12.0', '24'];

const TYPES_NODE = { '@types/node': '^20.19.0' };
const nest = (version) => ({
  ...Object.fromEntries(
    ['common', 'core', 'microservices', 'platform-express', 'terminus', 'testing'].map((name) => [
      `@nestjs/${name}`,
      version,
    ]),
  ),
  ...{ rxjs: '^7.8.0', 'reflect-metadata': '^0.2.0', jest: '^30.0.0', ...TYPES_NODE },
});
const NODENEXT = { module: 'nodenext' };

/** Each folder has one node_modules for its apps; `main` is compiled and run, `spec` goes through Jest as well. */
const NEST_11 = {
  name: 'Nest 11',
  dependencies: { ...nest('^11.0.0'), typescript: '~5.9.0' },
  apps: [
    { type: 'module', main: 'main', compiler: NODENEXT },
    // What `nest new` 11 began with: a resolution that knows no `exports`.
    { type: 'commonjs', main: 'main', spec: 'app.spec', compiler: { module: 'commonjs', moduleResolution: 'node10' } },
  ],
};
const NEST_12 = {
  name: 'Nest 12',
  dependencies: { ...nest('^12.0.0'), typescript: '^6.0.0' },
  apps: [
    { type: 'module', main: 'main', compiler: NODENEXT },
    { type: 'commonjs', main: 'main', spec: 'app.spec', compiler: NODENEXT },
  ],
};
const WITHOUT_NEST = {
  name: 'without Nest',
  dependencies: { ...TYPES_NODE, typescript: '^6.0.0' },
  apps: [
    { type: 'module', main: 'core', compiler: NODENEXT },
    { type: 'commonjs', main: 'core', compiler: NODENEXT },
  ],
};

/** Of our own specs, these do not run with Nest 11: path, and why not. */
const LEFT_OUT = [['test/nest/volume.spec.ts', 'slow, and about bytes']];

/** For one command. */
const TIMEOUT_MS = 600_000;

const execute = promisify(exec);
const failed = new AbortController();

/** What it prints, once it has ended well. @throws Error with what it said. */
async function run(cwd, command, env = process.env) {
  try {
    const options = { cwd, env, timeout: TIMEOUT_MS, maxBuffer: 2 ** 26, signal: failed.signal };
    return (await execute(command, options)).stdout;
  } catch (error) {
    failed.abort();
    throw new Error(`${error.message}\n${error.stdout}`, { cause: error });
  }
}

async function told(what, work) {
  const started = performance.now();
  const more = await work();
  console.log(`ok ${what}: ${more} (${((performance.now() - started) / 1000).toFixed(1)} s)`);
}

function writeJson(path, value) {
  writeFileSync(path, JSON.stringify(value, null, 2));
}

async function install(directory, dependencies) {
  mkdirSync(directory);
  writeJson(join(directory, 'package.json'), { private: true, dependencies });
  await run(directory, 'npm install --no-audit --no-fund --prefer-offline --loglevel=error');
}

async function check(directory, { type, main, spec, compiler }, nodes) {
  cpSync(join(repository, 'test/compat'), directory, { recursive: true });
  writeJson(join(directory, 'package.json'), { private: true, type });
  writeJson(join(directory, 'tsconfig.json'), {
    compilerOptions: {
      ...{ target: 'ES2023', strict: true, skipLibCheck: false, types: ['node'], rootDir: '.', outDir: 'dist' },
      ...{ experimentalDecorators: true, emitDecoratorMetadata: true, ...compiler },
    },
    files: [main, spec].filter(Boolean).map((name) => `${name}.ts`),
  });
  await run(directory, 'node ../node_modules/typescript/bin/tsc');
  for (const { environment } of nodes) await run(directory, `node dist/${main}.js`, environment);
  const ran = `compiled, ran on Node ${named(nodes)}`;
  if (spec === undefined) return ran;
  // Jest's way with ES modules is another one on the newest.
  const withJest = [...new Set([nodes[0], nodes.at(-1)])];
  const jest = 'node --experimental-vm-modules ../node_modules/jest/bin/jest.js';
  for (const { environment } of withJest) await run(directory, jest, environment);
  return `${ran}, passed Jest on ${named(withJest)}`;
}

const named = (nodes) => nodes.map(({ version }) => version.replace('v', '')).join(', ');

const directoryOf = ({ name }) => join(root, name.replace(' ', '-'));

async function checkFolder(folder, tarball, nodes) {
  const directory = directoryOf(folder);
  await install(directory, { ...folder.dependencies, 'nestjs-gen-rpc': `file:${tarball}` });
  for (const app of folder.apps) {
    await told(`${folder.name}, ${app.type}`, () => check(join(directory, app.type), app, nodes));
  }
}

/** What our specs need and the folder of Nest 11 lacks, from where it is here: each then finds its own beside itself. */
function lend(directory) {
  const { devDependencies, dependencies } = JSON.parse(readFileSync(join(repository, 'package.json'), 'utf8'));
  for (const name of Object.keys({ ...devDependencies, ...dependencies })) {
    const place = join(directory, 'node_modules', name);
    if (name.startsWith('@nestjs/') || existsSync(place)) continue;
    mkdirSync(dirname(place), { recursive: true });
    symlinkSync(join(repository, 'node_modules', name), place, 'junction');
  }
}

/** The specs of test/nest, and what else needs Nest, where nothing but Nest 11 is found. */
async function runSpecs() {
  const directory = directoryOf(NEST_11);
  const copy = join(directory, 'specs');
  mkdirSync(copy);
  for (const name of [
    'lib',
    'dist',
    'sample',
    'scripts',
    'test',
    'package.json',
    'tsconfig.json',
    'vitest.config.ts',
  ]) {
    cpSync(join(repository, name), join(copy, name), { recursive: true });
  }
  lend(directory);
  const leftOut = LEFT_OUT.map(([path]) => `--exclude ${path}`).join(' ');
  const vitest = join(repository, 'node_modules/vitest/vitest.mjs');
  const printed = await run(copy, `node "${vitest}" run test/nest test/testing test/shop.spec.ts ${leftOut}`);
  const reasons = LEFT_OUT.map(([path, reason]) => `${path} (${reason})`).join(', ');
  return `${printed.trimEnd().split('\n').at(-1)}, for want of Nest 12; left out: ${reasons}`;
}

/** The Nodes to run on. One that cannot be had is named, and a failure where GEN_RPC_NODES is `required`. */
function nodesToRunOn() {
  const here = { version: process.version, environment: process.env };
  const others = NODES.flatMap((wanted) => {
    try {
      return [nodeOf(wanted)];
    } catch (error) {
      console.error(`Left out: ${error.message}`);
      if (process.env.GEN_RPC_NODES === 'required') process.exitCode = 1;
      return [];
    }
  });
  return [here, ...others];
}

const nodes = nodesToRunOn();
const tarball = pack(root);
try {
  await Promise.all([NEST_11, NEST_12, WITHOUT_NEST].map((folder) => checkFolder(folder, tarball, nodes)));
  await told('Our specs with Nest 11', runSpecs);
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
