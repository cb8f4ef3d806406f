/** Medians, and how far apart the rounds were. */

export interface Spread {
  readonly median: number;
  readonly least: number;
  readonly most: number;
}

/** @throws Error for no values at all. */
export function spreadOf(values: readonly number[]): Spread {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = (sorted.length - 1) / 2;
  const [low, high, least, most] = [Math.floor(middle), Math.ceil(middle), 0, -1].map((index) => sorted.at(index));
  if (low === undefined || high === undefined || least === undefined || most === undefined) {
    throw new Error('There is nothing to take a median of.');
  }
  return { median: (low + high) / 2, least, most };
}
