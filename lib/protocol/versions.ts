/** Which version of a module answers a call (gen_rpc: `{Module, Version}`; ranges as npm writes them). */
import { compare, prerelease, satisfies, valid, validRange } from 'semver';

/** An operator or a wildcard makes it a range. `1.0` is a version like any other text, and is not `1.0.0`. */
const RANGE = /[\^~<>=*|]|\s-\s|(^|\.)[xX](\.|$)/;

/** Does `version` do for whoever asks for `wanted`? */
export function isWanted(version: string, wanted: string): boolean {
  if (version === wanted) return true;
  return RANGE.test(wanted) && validRange(wanted) !== null && valid(version) !== null && satisfies(version, wanted);
}

/**
 * Above 0 if `one` is newer. A pre-release is older than every release: it answers whoever asks for it, and others only
 * where there is nothing else. What is no semantic version is neither newer nor older: this alone sorts no list.
 */
export function byAge(one: string, other: string): number {
  if (valid(one) === null || valid(other) === null) return 0;
  return rank(one) - rank(other) || compare(one, other);
}

function rank(version: string): number {
  return prerelease(version) === null ? 1 : 0;
}
