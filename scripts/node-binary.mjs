// Versions of Node other than the one that runs: npx fetches them from the registry, and keeps them in npm's cache.
import { spawnSync } from 'node:child_process';
import { delimiter, dirname } from 'node:path';

/**
 * The Node that is meant by `22.12.0`, or the newest that is meant by `24`: its version, its path, and an environment
 * whose processes find it as `node`. @throws Error where it cannot be had.
 */
export function nodeOf(wanted) {
  const fetch = `npx --yes --prefer-offline --loglevel=error --package node@${wanted} -- node --print process.execPath`;
  const { status, stdout, stderr } = spawnSync(fetch, { encoding: 'utf8', shell: true, timeout: 180_000 });
  if (status !== 0) throw new Error(`Node ${wanted} cannot be had. Needed is: ${fetch}\n${stderr}`);
  const binary = stdout.trim();
  const version = spawnSync(binary, ['--version'], { encoding: 'utf8' }).stdout.trim();
  const environment = { ...process.env, PATH: `${dirname(binary)}${delimiter}${process.env.PATH}` };
  return { version, binary, environment };
}
