/** What anyone could print of a value: where secrets must not be. */
import { inspect } from 'node:util';

/**
 * Whatever of a value anyone could print: of each object that can be reached from it, once. In one piece a node is printed
 * thousands of times over, and `inspect` gives up before its end.
 */
export function printed(value: unknown): string {
  // Longer than whatever has bytes of a peer in it, and shorter than tables of numbers.
  const deep = { depth: Infinity, showHidden: true, maxArrayLength: 20_000, maxStringLength: Infinity };
  const parts = [String(value)];
  const met = new Set([value]);
  let printing: unknown;
  function later(this: unknown): unknown {
    if (this === printing) return this;
    met.add(this);
    return '…';
  }
  Object.defineProperty(Object.prototype, inspect.custom, { value: later, configurable: true });
  try {
    for (printing of met) parts.push(inspect(printing, deep));
  } finally {
    Reflect.deleteProperty(Object.prototype, inspect.custom);
  }
  if (value instanceof Error) parts.push(value.message, value.stack ?? '', JSON.stringify(value), printed(value.cause));
  return parts.join('\n');
}
