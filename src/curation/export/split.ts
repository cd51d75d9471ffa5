/** Train, validation and test: split by source, so that no two clips of one film are on both sides. */
import { CogwheelError } from "../../base/errors.ts";
import { digest } from "../ledger/key.ts";

export const SPLITS = ["train", "validation", "test"] as const;
export type Split = (typeof SPLITS)[number];

/** Shares of the clips; what is left is for training. */
export interface SplitShares {
  readonly validation?: number;
  readonly test?: number;
  /** Another one draws other sources. Default 0. */
  readonly seed?: number;
}

/**
 * The split of each row, in their order. Sources are taken in an order that their names and the seed decide alone, so that a source that
 * comes later moves no other; each split that is asked for gets at least one where there are enough.
 */
export function splitBySource(rows: readonly { readonly source: string }[], { validation = 0, test = 0, seed = 0 }: SplitShares): Split[] {
  for (const [name, share] of [
    ["validation", validation],
    ["test", test],
  ] as const)
    if (!(share >= 0 && share < 1) || validation + test >= 1)
      throw new CogwheelError("data", `shares of a split must be from 0 and below 1 in all, got ${name} ${share}; leave some for training`);
  const clips = new Map<string, number>();
  for (const { source } of rows) clips.set(source, (clips.get(source) ?? 0) + 1);
  const order = [...clips.keys()].map((source) => [digest([seed, source]), source] as const).sort(([a], [b]) => (a < b ? -1 : 1));
  const wanted = [validation, test].filter((share) => share > 0).length;
  if (order.length <= wanted && wanted > 0)
    throw new CogwheelError(
      "data",
      `a split must have sources for each of its ${wanted + 1} parts, got ${order.length}; add films, or ask for fewer parts`,
    );
  const of = new Map<string, Split>();
  let at = 0;
  for (const [name, share] of [
    ["test", test],
    ["validation", validation],
  ] as const) {
    // Whole sources, as near to the share as they come; training keeps one for itself.
    const keep = 1 + (name === "test" && validation > 0 ? 1 : 0);
    for (let got = 0; share > 0 && at < order.length - keep; ) {
      const [, source] = order[at]!;
      const next = got + clips.get(source)!;
      if (got > 0 && Math.abs(next - share * rows.length) >= Math.abs(got - share * rows.length)) break;
      of.set(source, name);
      got = next;
      at++;
    }
  }
  return rows.map(({ source }) => of.get(source) ?? "train");
}
