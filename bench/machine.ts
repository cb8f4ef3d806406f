/** Where the figures come from: without it they mean nothing. */
import { readFileSync } from 'node:fs';
import { cpus, loadavg, totalmem } from 'node:os';

/** Relative to the compiled benches, which lie one folder below the package. */
const ROOT = new URL('../', import.meta.url);
const PACKAGES = ['@nestjs/core', '@nestjs/microservices', 'msgpackr', 'rxjs', '@grpc/grpc-js'];

export function describeMachine(): string {
  const cores = cpus();
  const memory = `${(totalmem() / 1024 ** 3).toFixed(0)} GiB`;
  const packages = PACKAGES.map((name) => `${name} ${versionOf(`node_modules/${name}/`)}`);
  return [
    `${cores[0]?.model.trim() ?? 'unknown CPU'}, ${cores.length} cores, ${memory}, ${process.platform} ${process.arch}`,
    `Node ${process.version}, nestjs-gen-rpc ${versionOf('')}, ${packages.join(', ')}`,
  ].join('\n');
}

export function describeLoad(): string {
  return `load ${loadavg()
    .map((load) => load.toFixed(2))
    .join(' ')}`;
}

function versionOf(folder: string): string {
  const manifest = JSON.parse(readFileSync(new URL(`${folder}package.json`, ROOT), 'utf8')) as { version: string };
  return manifest.version;
}
