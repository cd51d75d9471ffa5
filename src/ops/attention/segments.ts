/** Which queries see which keys: segments, and the lists of tiles that attention's kernels and their gradients walk. */
import { CogwheelError } from "../../base/errors.ts";

/** Queries [first, first + count) see keys [keyFirst, keyFirst + keyCount) and nothing else. */
export interface Segment {
  readonly first: number;
  readonly count: number;
  readonly keyFirst: number;
  readonly keyCount: number;
}

/** B sequences of equal length, one after another. */
export function batchSegments(batch: number, length: number, keyLength = length): Segment[] {
  return Array.from({ length: batch }, (_, b) => ({ first: b * length, count: length, keyFirst: b * keyLength, keyCount: keyLength }));
}

/** Refuses segments that are none, that leave q or k, or that share a query. */
export function assertSegments(op: string, segments: readonly Segment[], queries: number, keys: number): void {
  if (segments.length === 0)
    throw new CogwheelError(op, "some query must be in a segment, got no segments; leave them out where all see all");
  const within = (first: number, count: number, all: number): boolean =>
    Number.isInteger(first) && Number.isInteger(count) && first >= 0 && count >= 1 && first + count <= all;
  for (const s of segments) {
    if (!within(s.first, s.count, queries) || !within(s.keyFirst, s.keyCount, keys))
      throw new CogwheelError(
        op,
        `segments must lie within ${queries} queries and ${keys} keys, got ${JSON.stringify(s)}; cut it at their ends`,
      );
  }
  const inOrder = [...segments].sort((a, b) => a.first - b.first);
  inOrder.forEach((s, i) => {
    const before = inOrder[i - 1];
    if (before && before.first + before.count > s.first)
      throw new CogwheelError(
        op,
        `a query must be in one segment at most, got ${s.first} in ${JSON.stringify(before)} and in ${JSON.stringify(s)}; part them`,
      );
  });
}

/** Queries of [start, start + count) that are in no segment. */
export function padding(segments: readonly Segment[], start: number, count: number): Uint32Array {
  const covered = new Uint8Array(count);
  for (const s of segments) covered.fill(1, Math.max(0, s.first - start), Math.max(0, s.first + s.count - start));
  return Uint32Array.from({ length: count }, (_, i) => start + i).filter((row) => !covered[row - start]);
}

/** Of queries or of keys. */
export const longest = (segments: readonly Segment[]): number => segments.reduce((most, s) => Math.max(most, s.count, s.keyCount), 0);

/**
 * Tiles of at most `height` queries of one segment within rows [start, start + count): (first query, queries, first key, keys' end). For a
 * bias, which counts from the segment's first query, a list of (that query, 0, 0, 0) follows.
 */
export function tilesOf(
  segments: readonly Segment[],
  height: number,
  start: number,
  count: number,
  biased: boolean,
): { tiles: number; list: Uint32Array } {
  const tiles: number[] = [];
  const origins: number[] = [];
  for (const s of segments) {
    const end = Math.min(s.first + s.count, start + count);
    for (let at = Math.max(s.first, start); at < end; at += height) {
      tiles.push(at, Math.min(height, end - at), s.keyFirst, s.keyFirst + s.keyCount);
      origins.push(s.first, 0, 0, 0);
    }
  }
  return { tiles: tiles.length / 4, list: Uint32Array.from(biased ? [...tiles, ...origins] : tiles) };
}

/** Of a list: (start, end) of each run of neighbours. */
function runsOf(rows: Uint32Array): [number, number][] {
  const runs: [number, number][] = [];
  for (const row of rows) {
    const before = runs.at(-1);
    if (before?.[1] === row) before[1]++;
    else runs.push([row, row + 1]);
  }
  return runs;
}

/** A tile of a gradient, as its kernel reads it, and the pairs of a query and a key that it goes through. */
export interface GradientTile {
  readonly words: readonly [number, number, number, number];
  readonly pairs: number;
}

/** Tiles of at most `height` queries: as {@link tilesOf}, and those of no segment with no keys. */
export function queryTiles(segments: readonly Segment[], height: number, queries: number): GradientTile[] {
  const none = runsOf(padding(segments, 0, queries)).map(([first, end]) => ({ first, count: end - first, keyFirst: 0, keyCount: 0 }));
  return [...segments, ...none].flatMap(({ first, count, keyFirst, keyCount }) =>
    Array.from({ length: Math.ceil(count / height) }, (_, i): GradientTile => {
      const here = Math.min(height, count - i * height);
      return { words: [first + i * height, here, keyFirst, keyFirst + keyCount], pairs: here * keyCount };
    }),
  );
}

/**
 * Tiles of at most `height` keys that are read by the same queries, every key in one: (first key, keys, first run, runs' end), and the runs
 * of queries, in order: (first query, queries' end, 0, 0).
 */
export function keyTiles(segments: readonly Segment[], height: number, keys: number): { tiles: GradientTile[]; runs: number[] } {
  const cuts = [...new Set([0, keys, ...segments.flatMap((s) => [s.keyFirst, s.keyFirst + s.keyCount])])].sort((a, b) => a - b);
  const inOrder = [...segments].sort((a, b) => a.first - b.first);
  const tiles: GradientTile[] = [];
  const runs: number[] = [];
  for (let i = 1; i < cuts.length; i++) {
    const [from, to] = [cuts[i - 1]!, cuts[i]!];
    const start = runs.length / 4;
    let queries = 0;
    for (const s of inOrder) {
      if (s.keyFirst > from || s.keyFirst + s.keyCount < to) continue;
      queries += s.count;
      // Neighbours that read the same keys are one run.
      if (runs.length / 4 > start && runs.at(-3) === s.first) runs[runs.length - 3] = s.first + s.count;
      else runs.push(s.first, s.first + s.count, 0, 0);
    }
    for (let at = from; at < to; at += height) {
      const here = Math.min(height, to - at);
      tiles.push({ words: [at, here, start, runs.length / 4], pairs: here * queries });
    }
  }
  return { tiles, runs };
}
