/** The name that was probably meant, for messages about names that nobody knows. */

/** The one of `known` that is least different from `name`, if it differs in no more than a third of its letters. */
export function nearestName(name: string, known: Iterable<string>): string | undefined {
  const wanted = lettersOf(name);
  let nearest: string | undefined;
  let least = Math.floor(wanted.length / 3) + 1;
  for (const candidate of known) {
    const edits = editsBetween(wanted, lettersOf(candidate), least);
    if (edits >= least) continue;
    nearest = candidate;
    least = edits;
  }
  return nearest;
}

/** `call_timeout`, `call-timeout` and `callTimeout` are spellings of one name. */
function lettersOf(name: string): string {
  return name.replaceAll(/[_-]/g, '').toLowerCase().slice(0, 64);
}

/** Letters to add, drop or replace (Levenshtein), or at least `enough`. */
function editsBetween(from: string, to: string, enough: number): number {
  if (Math.abs(from.length - to.length) >= enough) return enough;
  let row = Array.from({ length: to.length + 1 }, (_, at) => at);
  for (let i = 1; i <= from.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= to.length; j += 1) {
      const replaced = (row[j - 1] ?? 0) + (from[i - 1] === to[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[to.length] ?? enough;
}
