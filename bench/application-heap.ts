/**
 * What an application has in memory beside its transport. V8 collects the more often the less there is: buffers count
 * against what lives, so that a process with an empty heap marks it anew for every few large messages.
 */

/** In MiB, of objects that live as long as the process. The harness says how many. */
const HEAP_MIB = Number(process.env['BENCH_HEAP_MIB'] ?? 0);
const NUMBERS = 112;

/** About a KiB. */
interface Entity {
  readonly id: number;
  readonly numbers: readonly number[];
}

const entities = Array.from({ length: HEAP_MIB * 1024 }, (_, id): Entity => {
  return { id, numbers: Array.from({ length: NUMBERS }, (_number, at) => id * at) };
});
// They live because they can be found.
Object.assign(globalThis, { applicationHeap: entities });
