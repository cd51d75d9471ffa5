/**
 * What columns are worth against what a person said: for each the threshold that tells yes from no best, with the counts that it is chosen
 * by, as the CogVideoX paper reports its classifiers (table 14).
 */
import type { Judgement } from "./judged.ts";
import { LABEL_NAMES } from "./labels.ts";
import type { ClipColumns } from "./sample.ts";

/** F1, or Youden's J: of what is, the share that is found, minus of what is not, the share that is found all the same. */
export const CRITERIA = ["youden", "f1"] as const;
export type Criterion = (typeof CRITERIA)[number];

/** Clips by what the column says (positive or negative) and whether that is true. */
export interface Counts {
  readonly tp: number;
  readonly fp: number;
  readonly tn: number;
  readonly fn: number;
}

/** A column before a person's judgement. */
export interface ColumnVerdict {
  readonly column: string;
  /** What it is to tell: a label, or `good`. */
  readonly tells: string;
  /** Clips that have it by the person, and that do not. */
  readonly yes: number;
  readonly no: number;
  /** The best threshold; left out where the clips do not tell one, or none is better than chance. */
  readonly best?: {
    /** `>=`: at the threshold and above is yes. */
    readonly sign: ">=" | "<";
    readonly threshold: number;
    readonly counts: Counts;
    readonly f1: number;
    readonly youden: number;
    readonly accuracy: number;
    /** The part of a filter that keeps what is wanted. */
    readonly filter: string;
  };
}

export const f1Of = ({ tp, fp, fn }: Counts): number => (tp ? (2 * tp) / (2 * tp + fp + fn) : 0);
export const youdenOf = ({ tp, fp, tn, fn }: Counts): number => tp / (tp + fn) - fp / (fp + tn);
const accuracyOf = ({ tp, fp, tn, fn }: Counts): number => (tp + tn) / (tp + fp + tn + fn);

/** Clips of each answer without which a threshold would be by chance. */
const LEAST = 2;

/** A column that the model was asked for, and that the person is asked for too. */
const labelOf = (column: string): string | undefined => {
  const name = column.replace(/^label\./, "");
  return column === "watermark" || (LABEL_NAMES as readonly string[]).includes(name) ? name : undefined;
};

/** Labels against the person's own, everything else against whether the clip is good; the ones that tell most come first. */
export function judgeColumns(clips: readonly ClipColumns[], judgements: readonly Judgement[], by: Criterion): ColumnVerdict[] {
  const said = new Map(judgements.map((one) => [one.clip, one]));
  const judged = clips.filter(({ id }) => said.has(id));
  const columns = [...new Set(clips.flatMap(({ values }) => Object.keys(values)))];
  const verdicts = columns.map((column) => {
    const label = labelOf(column);
    const pairs = judged.flatMap(({ id, values: { [column]: value } }) => {
      const { good, labels } = said.get(id)!;
      return typeof value === "number" ? [{ value, yes: label === undefined ? good : labels.includes(label) }] : [];
    });
    // More of a label is never less of it, and what looks better is not worse; what a measure is good for is for the clips to tell.
    const signs = label !== undefined || column === "aesthetic" ? ([">="] as const) : ([">=", "<"] as const);
    return verdictOf(column, label, pairs, signs, by);
  });
  const rank = ({ best }: ColumnVerdict): number => (best ? (by === "f1" ? best.f1 : best.youden) : -1);
  return verdicts.sort((a, b) => Number(a.tells === "good") - Number(b.tells === "good") || rank(b) - rank(a));
}

function verdictOf(
  column: string,
  label: string | undefined,
  pairs: readonly { readonly value: number; readonly yes: boolean }[],
  signs: readonly (">=" | "<")[],
  by: Criterion,
): ColumnVerdict {
  const yes = pairs.filter((pair) => pair.yes).length;
  const no = pairs.length - yes;
  const told = { column, tells: label ?? "good", yes, no };
  if (yes < LEAST || no < LEAST) return told;
  const score = by === "f1" ? f1Of : youdenOf;
  const sorted = pairs.toSorted((a, b) => a.value - b.value);
  // Saying yes to all is what a threshold must beat.
  let most = score({ tp: yes, fp: no, tn: 0, fn: 0 });
  let best: Pick<NonNullable<ColumnVerdict["best"]>, "sign" | "threshold" | "counts"> | undefined;
  let [yesBelow, noBelow] = [0, 0];
  for (let i = 1; i < sorted.length; i++) {
    const [before, here] = [sorted[i - 1]!, sorted[i]!];
    if (before.yes) yesBelow++;
    else noBelow++;
    if (before.value === here.value) continue;
    for (const sign of signs) {
      const counts =
        sign === ">="
          ? { tp: yes - yesBelow, fp: no - noBelow, tn: noBelow, fn: yesBelow }
          : { tp: yesBelow, fp: noBelow, tn: no - noBelow, fn: yes - yesBelow };
      if (score(counts) <= most) continue;
      most = score(counts);
      best = { sign, threshold: shortBetween(before.value, here.value), counts };
    }
  }
  if (!best) return told;
  const { sign, threshold, counts } = best;
  // A label is what is not wanted.
  const keeps = label === undefined ? sign : "<";
  return {
    ...told,
    best: { ...best, f1: f1Of(counts), youden: youdenOf(counts), accuracy: accuracyOf(counts), filter: `${column} ${keeps} ${threshold}` },
  };
}

/** The number of fewest digits that is above `low` and at most `high`, near their middle. */
export function shortBetween(low: number, high: number): number {
  for (let digits = 1; digits < 17; digits++) {
    const short = Number(((low + high) / 2).toPrecision(digits));
    if (short > low && short <= high) return short;
  }
  return high;
}
