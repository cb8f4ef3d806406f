/** What a sample prints: a line for each step, which is also a check. An ending that nobody expected fails the run. */
import assert from 'node:assert/strict';
import { inspect } from 'node:util';
import { type GenRpcErrorCode, isGenRpcError } from 'nestjs-gen-rpc';

export function title(text: string): void {
  console.log(`\nnestjs-gen-rpc: ${text}\n`);
}

export function say(what: string, text: string): void {
  console.log(`  ${what.padEnd(8)} ${text}`);
}

/** How a step must end: with this very value, with a value for which `holds` does, or with an error of this code. */
type Expected<T> =
  { readonly value: T } | { readonly holds: (value: T) => boolean } | { readonly code: GenRpcErrorCode };

/** Runs a call, checks how it ended, and says so. Resolves with its value. */
export async function tell<T>(what: string, text: string, call: () => Promise<T>, expected: Expected<T>): Promise<T> {
  const ending = await timed(call);
  report(what, text, ending, expected);
  return ending.value as T;
}

export function report<T>(what: string, text: string, ending: Ending, expected: Expected<T>): void {
  const line = `${text} ${show(ending)}`;
  if ('code' in expected) assert(isGenRpcError(ending.error) && ending.error.code === expected.code, line);
  else if ('value' in expected) assert.deepEqual(ending, { value: expected.value, ms: ending.ms }, line);
  else assert(ending.error === undefined && expected.holds(ending.value as T), line);
  say(what, line);
}

export interface Ending {
  readonly ms: number;
  readonly value?: unknown;
  readonly error?: unknown;
}

/** Runs a call, and tells how it ended and after how long. */
export async function timed(call: () => Promise<unknown>): Promise<Ending> {
  const start = performance.now();
  try {
    return { value: await call(), ms: performance.now() - start };
  } catch (error) {
    return { error, ms: performance.now() - start };
  }
}

export function show({ ms, value, error }: Ending): string {
  const took = `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
  if (error === undefined) return `→ ${inspect(value, { breakLength: Infinity })}  (${took})`;
  if (!isGenRpcError(error)) return `→ ${String(error)}  (${took})`;
  return `→ ${error.code}: ${error.message}  (${took})`;
}
