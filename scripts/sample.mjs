// Runs one of the compiled samples by the name of its folder: `npm run sample -- 02-keys`.
import { readdirSync } from 'node:fs';

const names = readdirSync(new URL('../sample/', import.meta.url), { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map(({ name }) => name);
const [name] = process.argv.slice(2);

if (names.includes(name)) {
  await import(`../dist-sample/${name}/main.js`);
} else {
  console.error(`Which sample? npm run sample -- ${names.join(' | ')}`);
  process.exitCode = 1;
}
