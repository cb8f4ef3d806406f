/** Runs around all integration tests: none of them may leave anything behind, not even one that was killed. */
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sweep } from '../support/net-namespace.js';

/** Namespaces, what runs in them, and folders. */
function leftBehind(): string[] {
  const folders = readdirSync(tmpdir()).filter((name) => {
    const [, pid] = /^genrpc-hosts-(\d+)-/.exec(name) ?? [];
    return pid !== undefined && !existsSync(`/proc/${pid}`);
  });
  for (const folder of folders) rmSync(join(tmpdir(), folder), { recursive: true });
  return [...sweep(), ...folders];
}

export function setup(): void {
  leftBehind();
}

export function teardown(): void {
  const left = leftBehind();
  if (left.length > 0) throw new Error(`Left behind, and removed now: ${left.join(', ')}`);
}
