/**
 * Where one shot ends and the next begins, from the curves of a film. Hard cuts lie between two frames; fades and dissolves take a while.
 * Thresholds are PySceneDetect's (content 27, adaptive 3.0 over 15, histogram 0.2), whose detectors these are; what differs is said.
 */
import { CogwheelError } from "../../base/errors.ts";
import type { Curves } from "../curves/columns.ts";
import type { ShotNetwork } from "./network.ts";

/**
 * How changes of shot are found: `adaptive` by content against its neighbours', `content` and `histogram` by a threshold, `fades` through
 * black, `dissolves` of one picture into another, `transnet` by a network's scores.
 */
export type DetectorName = "adaptive" | "content" | "histogram" | "fades" | "dissolves" | "transnet";
/** All detectors, by the names that configs use. */
export const DETECTORS: readonly DetectorName[] = ["adaptive", "content", "histogram", "fades", "dissolves", "transnet"];

/** A change of shot. */
export interface Transition {
  readonly by: DetectorName;
  /** The first frame of the new shot; of a gradual one its middle. */
  readonly at: number;
  /** Frames from `from` up to `to`, which is not in it, belong to neither shot alone; a hard cut has none. */
  readonly from: number;
  readonly to: number;
  /** How sure: the ratio to the threshold, from 1. */
  readonly score: number;
}

/** Which detectors look for changes of shot, and their thresholds. */
export interface DetectOptions {
  readonly detectors: readonly DetectorName[];
  /** Content of a frame against the mean of its neighbours'. */
  readonly ratio: number;
  /** Content that a cut by ratio has at least. */
  readonly least: number;
  /** Content that is a cut by itself. */
  readonly content: number;
  /** Of histograms, 1 − correlation. */
  readonly histogram: number;
  /** Mean luma that a fade goes to. */
  readonly black: number;
  /** What a network gives a frame behind which another shot begins, 0 … 1: more than this. */
  readonly probability: number;
  /** Seconds of a shot at least: of cuts nearer to each other the surer one stays. */
  readonly shortestShot: number;
}

/** PySceneDetect's thresholds; what they find on real footage is in docs/data.md. */
export const DETECT_DEFAULTS: DetectOptions = {
  detectors: ["adaptive", "fades", "dissolves"],
  ratio: 3,
  least: 15,
  content: 27,
  histogram: 0.2,
  black: 12,
  probability: 0.5,
  shortestShot: 0.4,
};

/** Frames on each side that a frame's content is compared with. */
const WINDOW = 2;
/** How far frames of two shots are apart at least, in luma of 255. */
const OTHER = 6;
/** A picture that is there again behind a flash is as near to the one before it as this share of the flash. */
const BACK = 0.35;

/**
 * All changes of shot, in their order.
 * @param scores what a network gave each frame ({@link ShotNetwork}), for the detector `transnet`
 */
export function detectTransitions(curves: Curves, options: DetectOptions, scores?: Float32Array): Transition[] {
  const found: Transition[] = [];
  for (const by of options.detectors) found.push(...(by === "transnet" ? scored(curves, options, scores) : FIND[by](curves, options)));
  return apart(found, curves, options.shortestShot);
}

/** What PySceneDetect calls content: the mean of the differences of hue, saturation and value. */
export function contentOf({ columns: { hue, saturation, value }, frames }: Curves): Float32Array {
  return Float32Array.from({ length: frames }, (_, i) => {
    const content = (hue[i]! + saturation[i]! + value[i]!) / 3;
    return Number.isNaN(content) ? 0 : content;
  });
}

const FIND: Record<Exclude<DetectorName, "transnet">, (curves: Curves, options: DetectOptions) => Transition[]> = {
  adaptive(curves, { ratio, least }) {
    const content = contentOf(curves);
    return hardCuts(curves, (i) => {
      if (content[i]! < least) return 0;
      let [sum, count] = [0, 0];
      for (let j = Math.max(1, i - WINDOW); j <= Math.min(content.length - 1, i + WINDOW); j++)
        if (j !== i) {
          sum += content[j]!;
          count++;
        }
      // PySceneDetect looks at no frame nearer to an end than the window; a cut there is one too.
      return count === 0 ? 0 : content[i]! / Math.max(1e-3, sum / count) / ratio;
    });
  },
  content(curves, { content: threshold }) {
    const content = contentOf(curves);
    return hardCuts(curves, (i) => content[i]! / threshold).map((cut) => ({ ...cut, by: "content" }));
  },
  histogram(curves, { histogram: threshold }) {
    const { histogram } = curves.columns;
    // Compression alone moves a histogram; the picture stays.
    const other = (i: number): boolean => curves.distance(i - 1, i) >= OTHER;
    return hardCuts(curves, (i) => (i > 0 && other(i) ? (1 - histogram[i]!) / threshold : 0)).map((cut) => ({ ...cut, by: "histogram" }));
  },
  fades,
  dissolves,
};

/** Frames whose score is 1 or more, and the most around it; frames before and behind must be of two pictures (a flash is none). */
function hardCuts(curves: Curves, score: (frame: number) => number): Transition[] {
  const cuts: Transition[] = [];
  for (let i = 1; i < curves.frames; i++) {
    const own = score(i);
    if (!(own >= 1)) continue;
    if (score(i - 1) > own || (i + 1 < curves.frames && score(i + 1) > own)) continue;
    if (isFlash(curves, i)) continue;
    cuts.push({ by: "adaptive", at: i, from: i, to: i, score: own });
  }
  return cuts;
}

/** Whether the picture before frame `i` is there again soon behind it: a flash, or a frame that was lost. */
function isFlash(curves: Curves, i: number): boolean {
  const away = curves.distance(i - 1, i);
  for (let behind = i + 1; behind <= Math.min(curves.frames - 1, i + 3); behind++)
    if (curves.distance(i - 1, behind) < BACK * away) return true;
  return false;
}

/**
 * Frames of a row that a network scores above the threshold: the first of them is the last one of its shot, and behind the last of them
 * begins the next. One frame is a hard cut. As the package's predictions_to_scenes.
 */
function scored({ frames }: Curves, { probability }: DetectOptions, scores: Float32Array | undefined): Transition[] {
  if (scores?.length !== frames)
    throw new CogwheelError(
      "cut",
      `the detector transnet must have a score for each of ${frames} frames, got ${scores?.length ?? "none"}; ` +
        "name the network's weights (--transnet FILE), or give Curation a network",
    );
  const found: Transition[] = [];
  for (let i = 0; i < frames; i++) {
    if (!(scores[i]! > probability)) continue;
    let to = i + 1;
    while (to < frames && scores[to]! > probability) to++;
    const most = Math.max(...scores.subarray(i, to));
    // A film that ends in a change has no shot behind it; one that begins in one has none before.
    if (to < frames)
      found.push({ by: "transnet", at: Math.round((i + 1 + to) / 2), from: i + 1, to, score: most / Math.max(probability, 1e-3) });
    i = to;
  }
  return found;
}

/** Through black: from where a picture begins to go down to where the next one is all there. Black at an end is cut off by its shot. */
function fades({ frames, columns: { mean, variance } }: Curves, { black }: DetectOptions): Transition[] {
  const found: Transition[] = [];
  const isBlack = (i: number): boolean => mean[i]! < black && variance[i]! < 100;
  for (let i = 0; i < frames; i++) {
    if (!isBlack(i)) continue;
    let end = i;
    while (end + 1 < frames && isBlack(end + 1)) end++;
    let [from, to] = [i, end + 1];
    while (from > 0 && mean[from - 1]! > mean[from]! + 0.5) from--;
    while (to < frames && mean[to]! > mean[to - 1]! + 0.5) to++;
    found.push({ by: "fades", at: Math.min(frames, Math.round((i + end + 1) / 2)), from, to, score: 1 });
    i = end;
  }
  return found;
}

/** Frames that a dissolve takes at most. */
const LONGEST = 90;
const SHORTEST = 5;

/**
 * One picture turns into another: for a while every frame differs from the one before by about as much, in sum as much as a cut does, and
 * midway the picture has less contrast than a mixture of nothing would have: its variance goes down and up again (Alattar 1993).
 */
function dissolves(curves: Curves, { content: threshold }: DetectOptions): Transition[] {
  const { frames, columns } = curves;
  const { content8, change, variance } = columns;
  const found: Transition[] = [];
  for (let i = 8; i < frames; i += 8) {
    if (!(content8[i]! >= 0.5 * threshold)) continue;
    let [low, high] = [i - 8, i];
    // As far as frames go on to change by more than the quiet around it.
    const most = Math.max(...change.subarray(low + 1, high + 1));
    if (most > threshold) continue; // a hard cut, not a dissolve
    const level = Math.max(0.5, 0.25 * meanOf(change, low + 1, high + 1));
    while (low > 0 && high - low < LONGEST && change[low]! > level) low--;
    while (high + 1 < frames && high - low < LONGEST && change[high + 1]! > level) high++;
    if (high - low < SHORTEST || high - low >= LONGEST) continue;
    const middle = (low + high) >> 1;
    const ends = Math.sqrt(variance[low]! * variance[high]!);
    const dips = variance[middle]! < 0.85 * ends;
    if (!dips || curves.distance(low, high) < 2 * OTHER) continue;
    // Both shots are alike at neither end.
    if (curves.distance(low, middle) < OTHER / 2 || curves.distance(middle, high) < OTHER / 2) continue;
    if (found.at(-1) && found.at(-1)!.to > low) continue;
    found.push({ by: "dissolves", at: middle, from: low, to: high + 1, score: content8[i]! / threshold });
  }
  return found;
}

const meanOf = (values: Float32Array, from: number, to: number): number =>
  values.subarray(from, to).reduce((sum, n) => sum + n, 0) / (to - from);

/** In their order; of two that are nearer than a shot may be short, or that overlap, the surer one; a hard one before a gradual one. */
function apart(found: readonly Transition[], curves: Curves, shortest: number): Transition[] {
  const kept: Transition[] = [];
  const hard = ({ from, to }: Transition): number => (from === to ? 1 : 0);
  for (const one of found.toSorted((a, b) => hard(b) - hard(a) || b.score - a.score || a.at - b.at)) {
    const near = kept.some((other) => {
      if (one.from < other.to && other.from < one.to) return true;
      const [a, b] = one.at < other.at ? [one, other] : [other, one];
      return curves.timeOf(Math.min(b.from, curves.frames)) - curves.timeOf(Math.min(a.to, curves.frames)) < shortest;
    });
    if (!near) kept.push(one);
  }
  return kept.sort((a, b) => a.at - b.at);
}
