/** One function in the place of another, with all that decorators have said of that. */

export type Method = (...args: unknown[]) => unknown;

/** `copy` afterwards looks to Nest as `original` does; what decorators say of it later is said of it alone. */
export function dressAs(original: Method, copy: Method): Method {
  for (const key of ['name', 'length'] as const) Object.defineProperty(copy, key, { value: original[key] });
  for (const key of Reflect.getOwnMetadataKeys(original) as unknown[]) {
    Reflect.defineMetadata(key, Reflect.getOwnMetadata(key, original), copy);
  }
  return copy;
}
