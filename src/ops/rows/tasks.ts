/**
 * Sums over the rows that belong together, such as the tokens of a modulation, cut into tasks that a GPU does at once. A task is a run of
 * rows and a group: it sums those rows of the run that are in the group. Every run is a task of every group, so that the same values are
 * added in the same order whether the groups are known when compiling or an input; where they are known, tasks without rows are empty, and
 * groups without rows have none.
 */
import type { Capabilities } from "../../gpu/capabilities.ts";
import type { Tensor } from "../../graph/tensor.ts";
import type { RowWindow } from "../../plan/dispatch.ts";

export interface RowTasks {
  /** Of each window its tasks, 4 values each: first row and end in the window, the group's number, and the part that the sum goes to. */
  readonly windows: readonly Uint32Array[];
  /** Parts in all; those of a group lie together, in the order of their rows. */
  readonly slots: number;
  /** The numbers of the groups that have tasks, ascending. */
  readonly groups: Uint32Array;
  /** First part of each of `groups`, and `slots` at the end. */
  readonly first: Uint32Array;
  /** Of numbers 0 to `count` the place in `groups`, 0xffffffff where it has none. */
  groupOf(count: number): Uint32Array;
}

/** Rows of a task at least, and workgroups that keep an adapter busy. */
const LEAST = 16;
const BUSY: Readonly<Record<Capabilities["kind"], number>> = { hardware: 4096, software: 128 };

/**
 * @param windows of all rows
 * @param numbers the group of each row, below `count`. Default: all rows are one group, number 0
 * @param blocks workgroups that a task takes
 * @param most parts that there may be
 */
export function rowTasks(
  windows: readonly RowWindow[],
  numbers: { of: Tensor; count: number } | undefined,
  { blocks, most }: { blocks: number; most: number },
  { kind }: Pick<Capabilities, "kind">,
): RowTasks {
  const rows = windows.reduce((sum, { count }) => sum + count, 0);
  const known = !numbers ? new Uint32Array(rows) : numbers.of.role === "constant" ? (numbers.of.data as Uint32Array) : undefined;
  const count = numbers?.count ?? 1;
  // A group holds some of the rows only: with more of them there are more tasks, of which many are empty.
  const runs = Math.min(BUSY[kind] / blocks, (4 * BUSY[kind]) / blocks / count, most / count - windows.length);
  const span = Math.max(LEAST, Math.ceil(rows / Math.max(1, runs)));
  const groups = known ? Uint32Array.from(new Set(known)).sort() : Uint32Array.from({ length: count }, (_, g) => g);
  const cut = windows.flatMap(({ start, count: size }, window) =>
    Array.from({ length: Math.ceil(size / span) }, (_, i) => {
      const [begin, end] = [i * span, Math.min((i + 1) * span, size)];
      return { window, begin, end, holds: known && new Set(known.subarray(start + begin, start + end)) };
    }),
  );
  const tasks = windows.map((): number[] => []);
  for (const [place, group] of groups.entries())
    for (const [run, { window, begin, end, holds }] of cut.entries())
      tasks[window]!.push(begin, !holds || holds.has(group) ? end : begin, group, place * cut.length + run);
  return {
    windows: tasks.map((values) => Uint32Array.from(values)),
    slots: groups.length * cut.length,
    groups,
    first: Uint32Array.from({ length: groups.length + 1 }, (_, place) => place * cut.length),
    groupOf(total) {
      const of = new Uint32Array(total).fill(0xffffffff);
      for (const [place, group] of groups.entries()) of[group] = place;
      return of;
    },
  };
}
