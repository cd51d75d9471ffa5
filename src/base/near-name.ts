/** Names that were mistyped: which of those that there are is nearest. */

/** The nearest of `names`, by letters and digits alone, or undefined where none is near. */
export function nearestName(name: string, names: readonly string[]): string | undefined {
  const plain = (text: string): string => text.toLowerCase().replace(/[^a-z0-9]/g, "");
  const scored = names.map((one) => [editDistance(plain(name), plain(one)), one] as const).sort(([a], [b]) => a - b);
  const [best] = scored;
  return best && best[0] <= Math.max(2, Math.floor(name.length / 2)) ? best[1] : undefined;
}

/** Letters that are put in, left out, changed, or swapped with their neighbour (optimal string alignment), of 100 at most. */
export function editDistance(from: string, to: string): number {
  const [a, b] = [from.slice(0, 100), to.slice(0, 100)];
  const rows = [Array.from({ length: b.length + 1 }, (_, j) => j)];
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1] ? rows[i - 2]![j - 2]! + 1 : Infinity;
      row.push(Math.min(rows[i - 1]![j]! + 1, row[j - 1]! + 1, rows[i - 1]![j - 1]! + Number(a[i - 1] !== b[j - 1]), swapped));
    }
    rows.push(row);
  }
  return rows[a.length]![b.length]!;
}
