// The package as users will get it.
import { execSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';

/** Builds the package and packs it into `directory`, which holds no other tarball. Returns the tarball's path. */
export function pack(directory) {
  const cwd = join(import.meta.dirname, '..');
  execSync(`npm pack --silent --pack-destination "${directory}"`, { cwd, stdio: ['ignore', 'inherit', 'inherit'] });
  return join(
    directory,
    readdirSync(directory).find((name) => name.endsWith('.tgz')),
  );
}
