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

/** Letters to add, drop, replace or swap with their neighbour (Damerau–Levenshtein), or at least `enough`. */
function editsBetween(from: string, to: string, enough: number): number {
  if (Math.abs(from.length - to.length) >= enough) return enough;
  const rows = [Array.from({ length: to.length + 1 }, (_, at) => at)];
  const at = (i: number, j: number): number => rows[i]?.[j] ?? 0;
  for (let i = 1; i <= from.length; i += 1) {
    rows.push([i]);
    for (let j = 1; j <= to.length; j += 1) {
      const same = from[i - 1] === to[j - 1];
      const swapped = i > 1 && j > 1 && from[i - 1] === to[j - 2] && from[i - 2] === to[j - 1];
      const replaced = at(i - 1, j - 1) + (same ? 0 : 1);
      const edits = Math.min(replaced, at(i - 1, j) + 1, at(i, j - 1) + 1);
      rows[i]?.push(swapped ? Math.min(edits, at(i - 2, j - 2) + 1) : edits);
    }
  }
  return at(from.length, to.length);
}
