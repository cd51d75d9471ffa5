/** Clips that a person is to judge: few, drawn so that every column is seen over all of its range, rare values too. */
import { digest } from "../ledger/key.ts";

/** A clip with its columns of numbers; null where nobody could tell. */
export interface ClipColumns {
  readonly id: string;
  readonly values: Readonly<Record<string, number | null>>;
}

/** Parts that a column's range is cut into. */
const PARTS = 4;

/**
 * So many clips. Each column's different values are cut into four parts of equally many; column by column and part by part the clip that
 * comes first in an order of the seed's is taken. The same clips and the same seed give the same sample.
 */
export function drawSample(clips: readonly ClipColumns[], count: number, seed: number): string[] {
  const order = clips.map((clip) => ({ clip, at: digest([seed, clip.id]) })).sort((a, b) => (a.at < b.at ? -1 : 1));
  const names = [...new Set(clips.flatMap(({ values }) => Object.keys(values)))].sort();
  const strata = names.flatMap((name) => {
    const values = [...new Set(clips.flatMap(({ values: { [name]: value } }) => (typeof value === "number" ? [value] : [])))];
    const places = new Map(values.sort((a, b) => a - b).map((value, i) => [value, Math.floor((PARTS * i) / values.length)]));
    const parts: string[][] = Array.from({ length: PARTS }, () => []);
    for (const { clip } of order) {
      const value = clip.values[name];
      if (typeof value === "number") parts[places.get(value)!]!.push(clip.id);
    }
    return parts;
  });
  strata.push(order.map(({ clip }) => clip.id)); // clips of which nothing is known
  const drawn = new Set<string>();
  for (let round = true; round && drawn.size < count; ) {
    round = false;
    for (const part of strata) {
      while (part.length && drawn.has(part[0]!)) part.shift();
      if (part.length === 0 || drawn.size === count) continue;
      drawn.add(part.shift()!);
      round = true;
    }
  }
  // In the seed's order, so that no column's ends come one after another.
  return order.flatMap(({ clip }) => (drawn.has(clip.id) ? [clip.id] : []));
}
