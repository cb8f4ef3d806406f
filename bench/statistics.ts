/** Medians, and how far apart the rounds were. */

export interface Spread {
  readonly median: number;
  readonly least: number;
  readonly most: number;
}

/** The value that so large a share of all reaches at most. @throws Error for no values at all. */
export function quantileOf(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  const value = sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)];
  if (value === undefined) throw new Error('There is nothing to take a quantile of.');
  return value;
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
