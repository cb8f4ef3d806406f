// Installs the packed package into fresh Nest 11 and Nest 12 apps, ESM and CommonJS, and lets one call another.
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pack } from './pack.mjs';

const fixtures = join(import.meta.dirname, '../test/compat');
const root = mkdtempSync(join(tmpdir(), 'gen-rpc-compat-'));
process.on('exit', () => rmSync(root, { recursive: true, force: true }));

const TYPES_NODE = { '@types/node': '^20.19.0' };
const nest = (version) => ({
  ...Object.fromEntries(
    ['common', 'core', 'microservices', 'platform-express', 'testing'].map((name) => [`@nestjs/${name}`, version]),
  ),
  ...{ rxjs: '^7.8.0', 'reflect-metadata': '^0.2.0', jest: '^30.0.0', ...TYPES_NODE },
});
const NODENEXT = { module: 'nodenext' };

/** Each folder has one node_modules for its apps; `main` is compiled and run, `spec` goes through Jest as well. */
const FOLDERS = [
  {
    name: 'Nest 11',
    dependencies: { ...nest('^11.0.0'), typescript: '~5.9.0' },
    apps: [
      { type: 'module', main: 'main', compiler: NODENEXT },
      // What `nest new` 11 began with: a resolution that knows no `exports`.
      {
        type: 'commonjs',
        main: 'main',
        spec: 'app.spec',
        compiler: { module: 'commonjs', moduleResolution: 'node10' },
      },
    ],
  },
  {
    name: 'Nest 12',
    dependencies: { ...nest('^12.0.0'), typescript: '^6.0.0' },
    apps: [
      { type: 'module', main: 'main', compiler: NODENEXT },
      { type: 'commonjs', main: 'main', spec: 'app.spec', compiler: NODENEXT },
    ],
  },
  {
    name: 'without Nest',
    dependencies: { ...TYPES_NODE, typescript: '^6.0.0' },
    apps: [
      { type: 'module', main: 'core', compiler: NODENEXT },
      { type: 'commonjs', main: 'core', compiler: NODENEXT },
    ],
  },
];

/** Runs to its end within three minutes, or ends this script with what the command said. */
function run(cwd, command) {
  const result = spawnSync(command, { cwd, encoding: 'utf8', timeout: 180_000, shell: true });
  if (result.status === 0) return;
  const reason = result.error?.message ?? `exit ${result.status ?? result.signal}`;
  console.error(`${command}: ${reason}\n${result.stdout}${result.stderr}`);
  process.exit(1);
}

function writeJson(path, value) {
  writeFileSync(path, JSON.stringify(value, null, 2));
}

function install(directory, dependencies) {
  mkdirSync(directory);
  writeJson(join(directory, 'package.json'), { private: true, dependencies });
  run(directory, 'npm install --no-audit --no-fund --prefer-offline --loglevel=error');
}

function check(directory, { type, main, spec, compiler }) {
  cpSync(fixtures, directory, { recursive: true });
  writeJson(join(directory, 'package.json'), { private: true, type });
  writeJson(join(directory, 'tsconfig.json'), {
    compilerOptions: {
      ...{ target: 'ES2023', strict: true, skipLibCheck: false, types: ['node'], rootDir: '.', outDir: 'dist' },
      ...{ experimentalDecorators: true, emitDecoratorMetadata: true, ...compiler },
    },
    files: [main, spec].filter(Boolean).map((name) => `${name}.ts`),
  });
  run(directory, 'node ../node_modules/typescript/bin/tsc');
  run(directory, `node dist/${main}.js`);
  if (spec) run(directory, 'node --experimental-vm-modules ../node_modules/jest/bin/jest.js');
}

const tarball = pack(root);
for (const { name, dependencies, apps } of FOLDERS) {
  const directory = join(root, name.replace(' ', '-'));
  install(directory, { ...dependencies, 'nestjs-gen-rpc': `file:${tarball}` });
  for (const app of apps) {
    const started = performance.now();
    check(join(directory, app.type), app);
    const seconds = ((performance.now() - started) / 1000).toFixed(1);
    console.log(`ok ${name}, ${app.type}: compiled, ran${app.spec ? ', passed Jest' : ''} (${seconds} s)`);
  }
}
