// Ends an integration run with a table: what was cut, what each side saw of it, and after how many ms, a column for each
// driver and address family. Tests leave what they saw in `task.meta.seen` (test/integration/seen.ts).
export default class TableReporter {
  onTestRunEnd(modules) {
    const columns = new Set();
    /** title of a test → what was seen, `who` and `saw` → ms by column */
    const cuts = new Map();
    for (const module of modules) {
      for (const test of module.children.allTests()) {
        const { seen } = test.meta();
        if (seen === undefined) continue;
        columns.add(seen.column);
        if (!cuts.has(test.name)) cuts.set(test.name, new Map());
        const lines = cuts.get(test.name);
        const failed = test.result().state === 'failed' ? [{ who: 'the test', saw: 'FAILED', figure: 'x' }] : [];
        for (const { who, saw, figure } of [...seen.sights, ...failed]) {
          const key = JSON.stringify([who, saw]);
          if (!lines.has(key)) lines.set(key, { who, saw, figures: new Map() });
          lines.get(key).figures.set(seen.column, figure);
        }
      }
    }
    if (cuts.size > 0)
      print(
        [...columns].sort((a, b) => a.localeCompare(b)),
        cuts,
      );
  }
}

function print(columns, cuts) {
  const rows = [['', 'saw', ...columns.map((column) => `${column}, ms`)]];
  for (const [cut, lines] of cuts) {
    rows.push([`-- ${cut}`]);
    for (const { who, saw, figures } of byWho(lines)) {
      rows.push([who, saw, ...columns.map((column) => figures.get(column) ?? '')]);
    }
  }
  const table = rows.filter((row) => row.length > 1);
  const widths = table[0].map((_, column) => Math.max(...table.map((row) => String(row[column]).length)));
  console.log();
  for (const row of rows) {
    const cells = row.map((cell, column) => pad(String(cell), row.length > 1 ? widths[column] : 0, column >= 2));
    console.log(cells.join('  ').trimEnd());
  }
  console.log();
}

/** In the order in which they were first seen, but what differs between columns next to each other. */
function byWho(lines) {
  const all = [...lines.values()];
  const order = [...new Set(all.map(({ who }) => who))];
  return order.flatMap((who) => all.filter((line) => line.who === who));
}

const pad = (text, width, right) => (right ? text.padStart(width) : text.padEnd(width));
