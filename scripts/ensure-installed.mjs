// Lets `npm start` and `npm test` work on a fresh clone: installs the locked dependencies unless they are there.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

const root = new URL('../', import.meta.url);

/** Path and version of every package in a lock file; those that npm may skip on this platform left out. */
function packagesOf(lockFile) {
  const { packages } = JSON.parse(readFileSync(new URL(lockFile, root), 'utf8'));
  return Object.entries(packages).filter(([path, { optional }]) => path !== '' && !optional);
}

function isInstalled() {
  try {
    const present = Object.fromEntries(packagesOf('node_modules/.package-lock.json'));
    return packagesOf('package-lock.json').every(([path, { version }]) => present[path]?.version === version);
  } catch {
    return false;
  }
}

if (!isInstalled()) {
  console.log('Installing the dependencies of package-lock.json (npm ci), once ...');
  const { status } = spawnSync('npm ci --no-audit --no-fund --loglevel=error', {
    cwd: root,
    shell: true,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  process.exit(status ?? 1);
}
