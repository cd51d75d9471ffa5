/** What a smaller summariser learns from: every merge that the teacher made by the rules, with exactly what it was asked. */
import { CogwheelError } from "../../base/errors.ts";
import type { CaptionValue } from "../caption/record.ts";
import type { DatasetSample } from "../export/rows.ts";
import { splitBySource } from "../export/split.ts";
import type { Ledger } from "../ledger/ledger.ts";

/** A request and its answer. */
export interface TeacherPair {
  /** The clip. */
  readonly id: string;
  readonly source: string;
  readonly system: string;
  readonly user: string;
  readonly answer: string;
  /** The model that answered, as its server names it. */
  readonly model: string | undefined;
}

export interface PairsOptions {
  /** Share of the pairs whose sources are held out. Default 0.1. */
  readonly validation?: number;
  readonly seed?: number;
  /** Of merges by several models, those of this one, as it was asked for. Default: the last of each clip. */
  readonly teacher?: string | undefined;
}

/** Pairs to learn from and pairs to compare by: no source is on both sides. */
export interface SplitPairs {
  readonly train: readonly TeacherPair[];
  readonly validation: readonly TeacherPair[];
}

/**
 * The pairs of a data set's clips, in the order of its rows. Merges that break a rule are left out: a student would learn it.
 * @param rows the data set's
 */
export function teacherPairs(
  ledger: Ledger,
  rows: readonly DatasetSample[],
  { validation = 0.1, seed = 0, teacher }: PairsOptions = {},
): SplitPairs {
  const pairs = rows.flatMap((row) => {
    const merges = ledger.of(row.id).flatMap(({ stage, value }) => (stage === "caption.merge" && value ? [value as CaptionValue] : []));
    const last = merges.findLast(({ asked, violations }) => !violations && (teacher === undefined || asked === teacher));
    return last ? pairOf(row.id, last) : [];
  });
  if (pairs.length === 0)
    throw new CogwheelError(
      "distill",
      "a student must have merges of a teacher to learn from, got none in the ledger; caption the data set by steps first",
    );
  const split = splitBySource(pairs, { validation, seed });
  return { train: pairs.filter((_, i) => split[i] === "train"), validation: pairs.filter((_, i) => split[i] === "validation") };
}

function pairOf(id: string, { text, source, model, tries }: CaptionValue): TeacherPair[] {
  // What was asked at first: what a retry adds is about an answer that is not learned from.
  const request = tries[0]?.request;
  const user = request?.parts.map((part) => ("text" in part ? part.text : "")).join("\n");
  return request?.system === undefined || !user ? [] : [{ id, source, system: request.system, user, answer: text, model }];
}
