/** Which version of a module answers a call (gen_rpc: `{Module, Version}`; ranges as npm writes them). */
import { compare, satisfies, valid, validRange } from 'semver';

/** An operator or a wildcard makes it a range. `1.0` is a version like any other text, and is not `1.0.0`. */
const RANGE = /[\^~<>=*|]|\s-\s|(^|\.)[xX](\.|$)/;

/** Does `version` do for whoever asks for `wanted`? */
export function isWanted(version: string, wanted: string): boolean {
  if (version === wanted) return true;
  return RANGE.test(wanted) && validRange(wanted) !== null && valid(version) !== null && satisfies(version, wanted);
}

/** Oldest first. One that is no semantic version stays behind those before it. */
export function byAge(one: string, other: string): number {
  return valid(one) === null || valid(other) === null ? 0 : compare(one, other);
}
