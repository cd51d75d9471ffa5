/**
 * A student before held-out clips: its captions against the teacher's, with the teacher against itself (another seed) as the ceiling:
 * nobody comes nearer to a text than who wrote it comes a second time. The student may take the teacher's place where every measure is
 * above a floor that was stated before.
 */
import { CogwheelError } from "../../base/errors.ts";
import type { CaptionModel } from "../caption/caption.ts";
import { EndpointError } from "../endpoint/faults.ts";
import { askByRules } from "../rules/ask.ts";
import type { TokenCount } from "../rules/check.ts";
import type { TextRules } from "../rules/rules.ts";
import { judged, type JudgeVerdict } from "./judge.ts";
import type { TeacherPair } from "./pairs.ts";
import { type TextScores, textScores } from "./scores.ts";

export interface CompareOptions {
  readonly student: CaptionModel;
  readonly teacher: CaptionModel;
  /** Default: the teacher. */
  readonly judge?: CaptionModel;
  readonly rules: TextRules;
  readonly count?: TokenCount | undefined;
  /** Held-out clips that are compared at most. Default 200. */
  readonly clips?: number;
  /** Share of the ceiling that every measure must reach. Default 0.9. */
  readonly floor?: number;
  /** Of the student's requests; the teacher's second caption has the next one. */
  readonly seed?: number;
  readonly temperature?: number;
  /** Clips at a time. Default 4. */
  readonly lanes?: number;
  readonly signal?: AbortSignal | undefined;
  onProgress?(done: number, all: number): void;
}

/** Means over clips. */
export interface StudentScores extends TextScores {
  /** Share of first answers that break no rule. */
  readonly lawful: number;
  /** Share of the judge's verdicts: a tie is half a win. */
  readonly judged: number;
}

/** What came of a comparison. */
export interface StudentReport {
  readonly clips: number;
  /** Clips that could not be compared, and why. */
  readonly failed: readonly { readonly id: string; readonly error: string }[];
  readonly student: StudentScores;
  /** The teacher against itself. */
  readonly ceiling: StudentScores;
  readonly floor: number;
  /** Measures that are below the floor, with what they would have to be; empty where the student may take over. */
  readonly below: readonly { readonly measure: keyof StudentScores; readonly got: number; readonly least: number }[];
}

const MEASURES = ["chrf", "rougeL", "names", "numbers", "lawful", "judged"] as const satisfies readonly (keyof StudentScores)[];

type Row = { readonly scores: TextScores; readonly lawful: boolean; readonly verdict: JudgeVerdict };

export async function compare(pairs: readonly TeacherPair[], options: CompareOptions): Promise<StudentReport> {
  const { student, teacher, judge = teacher, clips = 200, floor = 0.9, seed = 0, lanes = 4, signal, onProgress } = options;
  if (pairs.length === 0)
    throw new CogwheelError("distill", "a comparison must have held-out clips, got none; hold some out with --validation");
  const some = pairs.slice(0, clips);
  const rows: { student: Row; ceiling: Row }[] = [];
  const failed: { id: string; error: string }[] = [];
  const rowOf = async (model: CaptionModel, pair: TeacherPair, itsSeed: number): Promise<Row> => {
    const request = {
      system: pair.system,
      parts: [{ text: pair.user }],
      maxTokens: 512,
      temperature: options.temperature ?? 0.1,
      seed: itsSeed,
    };
    const { text, violations } = await askByRules(model, request, { rules: options.rules, count: options.count, retries: 0, signal });
    const verdict = await judged(judge, { known: pair.user, text, reference: pair.answer }, signal);
    return { scores: textScores(text, pair.answer), lawful: violations.length === 0, verdict };
  };
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < some.length) {
      const pair = some[next++]!;
      try {
        const [own, again] = await Promise.all([rowOf(student, pair, seed), rowOf(teacher, pair, seed + 1)]);
        rows.push({ student: own, ceiling: again });
      } catch (error) {
        if (!(error instanceof EndpointError) || error.scope === "endpoint" || signal?.aborted) throw error;
        failed.push({ id: pair.id, error: error.message });
      }
      onProgress?.(rows.length + failed.length, some.length);
    }
  };
  const all = await Promise.allSettled(Array.from({ length: Math.min(lanes, some.length) }, lane));
  for (const one of all) if (one.status === "rejected") throw one.reason;
  if (rows.length === 0)
    throw new CogwheelError("distill", `some clips must be comparable, got ${failed.length} that failed; see why`, {
      code: "failed",
      lines: failed.slice(0, 3).map(({ error }) => error),
    });
  const [mine, ceiling] = [meanOf(rows.map((row) => row.student)), meanOf(rows.map((row) => row.ceiling))];
  // What could not be answered counts against the student: a missing caption is none.
  const below = MEASURES.flatMap((measure) => {
    const [got, least] = [(mine[measure] * rows.length) / (rows.length + failed.length), floor * ceiling[measure]];
    return got >= least ? [] : [{ measure, got, least }];
  });
  return { clips: rows.length, failed, student: mine, ceiling, floor, below };
}

function meanOf(rows: readonly Row[]): StudentScores {
  const mean = (of: (row: Row) => number): number => rows.reduce((sum, row) => sum + of(row), 0) / rows.length;
  return {
    chrf: mean(({ scores }) => scores.chrf),
    rougeL: mean(({ scores }) => scores.rougeL),
    names: mean(({ scores }) => scores.names),
    numbers: mean(({ scores }) => scores.numbers),
    lawful: mean(({ lawful }) => (lawful ? 1 : 0)),
    judged: mean(({ verdict }) => ({ won: 1, tied: 0.5, lost: 0 })[verdict]),
  };
}
