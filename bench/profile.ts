/** CPU profiles of the workers, and the functions that most of the time went to. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

/** As far as it is read here; µs. */
interface CpuProfile {
  readonly nodes: readonly { id: number; callFrame: { functionName: string; url: string; lineNumber: number } }[];
  readonly samples: readonly number[];
  readonly timeDeltas: readonly number[];
}

const SHOWN = 15;

/** Arguments that make a Node process write `<folder>/<name>.cpuprofile` when it ends. */
export function profileArgs(folder: string, name: string): string[] {
  return ['--cpu-prof', `--cpu-prof-dir=${folder}`, `--cpu-prof-name=${name}.cpuprofile`];
}

/** For each profile in `folder`: its path, and its functions by their own time, as shares of the time not idle. */
export async function summarizeProfiles(folder: string): Promise<string> {
  const files = (await readdir(folder)).toSorted();
  const summaries = files.map(async (file) => {
    const path = join(folder, file);
    return [path, ...topOf(JSON.parse(await readFile(path, 'utf8')) as CpuProfile)].join('\n');
  });
  return (await Promise.all(summaries)).join('\n\n');
}

function topOf({ nodes, samples, timeDeltas }: CpuProfile): string[] {
  const names = new Map(nodes.map(({ id, callFrame }) => [id, nameOf(callFrame)]));
  const times = new Map<string, number>();
  samples.forEach((id, index) => {
    const name = names.get(id) ?? '?';
    times.set(name, (times.get(name) ?? 0) + (timeDeltas[index] ?? 0));
  });
  times.delete('(idle)');
  const total = [...times.values()].reduce((sum, time) => sum + time, 0);
  const shares = [...times].toSorted(([, a], [, b]) => b - a).slice(0, SHOWN);
  return shares.map(([name, time]) => `  ${((100 * time) / total).toFixed(1).padStart(5)} %  ${name}`);
}

/** With the last two parts of the file's path. */
function nameOf({ functionName, url, lineNumber }: CpuProfile['nodes'][number]['callFrame']): string {
  const place = url === '' ? '' : `  ${url.split('/').slice(-2).join('/')}:${lineNumber + 1}`;
  return `${functionName === '' ? '(anonymous)' : functionName}${place}`;
}
