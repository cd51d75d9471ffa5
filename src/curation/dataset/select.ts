/** Which clips stay: by an expression over their columns, part by part, so that a table tells what was dropped by what. */
import { type Columns, type Filter, parseFilter } from "../filter.ts";

export interface Selection {
  /** For each clip in its order: the part that it fails by, or undefined where it stays. */
  readonly reasons: readonly (string | undefined)[];
  /** By reason, in the order of the expression. */
  readonly dropped: Readonly<Record<string, number>>;
  readonly kept: number;
}

/** Clips that look like one before them. */
export const DUPLICATE = "duplicate";

/** @param filter parsed; undefined takes all @param duplicates whether those stay */
export function select(rows: readonly Columns[], filter: Filter | undefined, duplicates: "drop" | "keep"): Selection {
  const dropped: Record<string, number> = {};
  for (const { text } of filter?.parts ?? []) dropped[text] = 0;
  if (duplicates === "drop") dropped[DUPLICATE] = 0;
  let kept = 0;
  const reasons = rows.map((row) => {
    const reason =
      filter?.parts.find((part) => !part.takes(row))?.text ??
      (duplicates === "drop" && typeof row["duplicate_of"] === "string" ? DUPLICATE : undefined);
    if (reason === undefined) kept++;
    else dropped[reason]!++;
    return reason;
  });
  return { reasons, dropped, kept };
}

export const filterOf = (text: string | undefined): Filter | undefined => (text === undefined ? undefined : parseFilter(text));
