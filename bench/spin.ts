/** Work that takes the same everywhere: so many rounds of nothing, counted and not timed. */

const TRIALS = 5;
const TRIAL_ROUNDS = 10_000_000;

/** What it resolves with depends on every round, so that none is left out. */
export function spin(rounds: number): number {
  let value = 1;
  for (let round = 0; round < rounds; round++) value = (Math.imul(value, 1_103_515_245) + 12_345) | 0;
  return value;
}

/** How many rounds use `micros` of this machine's CPU: by the fastest trial, as others may be at work. */
export function roundsIn(micros: number): number {
  const trials = Array.from({ length: TRIALS }, () => {
    const before = process.cpuUsage();
    spin(TRIAL_ROUNDS);
    return process.cpuUsage(before).user;
  });
  return Math.max(1, Math.round((micros * TRIAL_ROUNDS) / Math.max(1, Math.min(...trials))));
}
