/** Which clips stay: by an expression over their columns, part by part, so that a table tells what was dropped by what. */
import { CogwheelError } from "../../base/errors.ts";
import { nearestName } from "../../base/near-name.ts";
import { type Columns, type Filter, type FilterPart, parseFilter } from "../filter.ts";
import { LABEL_COLUMNS } from "../label/labels.ts";
import { COLUMN_NAMES, TEXT_COLUMNS } from "./rows.ts";

/** Which clips stay, and what dropped the others. */
export interface Selection {
  /** For each clip in its order: the part that it fails by, or undefined where it stays. */
  readonly reasons: readonly (string | undefined)[];
  /** By reason, in the order of the expression. */
  readonly dropped: Readonly<Record<string, number>>;
  readonly kept: number;
}

/** Clips that look like one before them. */
export const DUPLICATE = "duplicate";

/**
 * A clip is dropped by what was looked at first: what costs nothing, duplicates, text areas, labels. Those that come later may be unknown
 * where it was dropped before.
 * @param filter parsed; undefined takes all @param duplicates whether those stay
 */
export function select(rows: readonly Columns[], filter: Pick<Filter, "parts"> | undefined, duplicates: "drop" | "keep"): Selection {
  const dropped: Record<string, number> = {};
  for (const { text } of filter?.parts ?? []) dropped[text] = 0;
  if (duplicates === "drop") dropped[DUPLICATE] = 0;
  let kept = 0;
  const stageOf = ({ text }: FilterPart): number => {
    const asked = parseFilter(text);
    return asksFor(asked, LABEL_COLUMNS) ? 3 : asksFor(asked, TEXT_COLUMNS) ? 2 : 0;
  };
  const isOwn: FilterPart = { text: DUPLICATE, takes: (row) => typeof row["duplicate_of"] !== "string" };
  const staged = (filter?.parts ?? []).map((part) => ({ part, stage: stageOf(part) }));
  if (duplicates === "drop") staged.push({ part: isOwn, stage: 1 });
  const parts = staged.sort((a, b) => a.stage - b.stage).map(({ part }) => part);
  const reasons = rows.map((row) => {
    const reason = parts.find((part) => !part.takes(row))?.text;
    if (reason === undefined) kept++;
    else dropped[reason]!++;
    return reason;
  });
  return { reasons, dropped, kept };
}

/** What of a filter can be told without some columns: the parts that do not ask for them. */
export const partsWithout = ({ parts }: Filter, columns: readonly string[]): Pick<Filter, "parts"> => ({
  parts: parts.filter(({ text }) => !parseFilter(text).columns.some((column) => columns.includes(nameOf(column)))),
});

/** A column's name without backticks; scores stand under their own names too. */
const nameOf = (column: string): string => column.replaceAll("`", "").replace(/^scores\./, "");

/** Whether a filter asks for one of these columns. */
export const asksFor = ({ columns }: Filter, names: readonly string[]): boolean => columns.some((column) => names.includes(nameOf(column)));

/** The filter of a text, undefined where there is none; throws where it asks for a column that clips do not have. */
export function filterOf(text: string | undefined): Filter | undefined {
  if (text === undefined) return undefined;
  const filter = parseFilter(text);
  for (const column of filter.columns) {
    const name = nameOf(column);
    if (COLUMN_NAMES.includes(name) || name === "scores" || name === "source") continue;
    const near = nearestName(name, COLUMN_NAMES);
    throw new CogwheelError(
      "filter",
      `a column must be one of ${COLUMN_NAMES.join(", ")}, got ${column}; ${near ? `the nearest is ${near}` : "correct the expression"}`,
    );
  }
  return filter;
}
