/** Prints what happens, a line each. */
import { inspect } from 'node:util';
import { isGenRpcError } from 'nestjs-gen-rpc';

export function say(what: string, text: string): void {
  console.log(`  ${what.padEnd(8)} ${text}`);
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

/** The story is also a check: an ending that nobody expected fails the run. */
export function expectCode(ending: Ending, code: string): void {
  if (isGenRpcError(ending.error) && ending.error.code === code) return;
  throw new Error(`expected ${code}, got: ${show(ending)}`);
}
