/** Compares what the engine gave with what the reference gave, and says whether that is near enough. */
import type { HostTensor } from "./reference-case.ts";

export type Verdict = "pass" | "fail";

/**
 * `L2 of largest` and `L2 of change`: ‖got − want‖₂ over the norm of the largest gradient in the case, and over that of what training
 * changed. `each relative`: the largest |got − want| / |want| of a value. `not judged`: a result that is not finite fails all the same.
 */
export type Measure = "relative L2" | "max abs" | "equal" | "L2 of largest" | "L2 of change" | "each relative" | "not judged";

/** How far an output is from the reference's, and whether that is near enough. */
export interface Comparison {
  /** The format's name of the output. */
  readonly output: string;
  readonly verdict: Verdict;
  /** Largest absolute difference. */
  readonly maxAbs: number;
  /** ‖got − want‖₂ / ‖want‖₂; null where the reference is all zero. */
  readonly relativeL2: number | null;
  /** Null where either side is all zero. */
  readonly cosine: number | null;
  /** What was judged, its figure, and the limit that it was held to. */
  readonly measure: Measure;
  readonly judged: number;
  readonly threshold: number;
  /** Where the largest absolute difference is. */
  readonly worst?: { readonly at: readonly number[]; readonly got: number; readonly want: number };
  /** Why it fails, where the figures do not say it. */
  readonly note?: string;
}

export interface Threshold {
  readonly measure: Measure;
  readonly limit: number;
  /** What the difference's norm is divided by, for `L2 of …`. */
  readonly norm?: number;
}

/** Outputs that are integers whatever dtype the file has them in. */
const INTEGERS = new Set(["input_ids", "timesteps"]);

/** Pipelines of more steps than this are held to the limit of long ones: an error is carried on from step to step. */
const FEW_STEPS = 6;

/** The limit for an output: by module, storage type and, for pipelines, the number of steps. A single step (`step.…`) is a module. */
export function thresholdFor(
  module: string,
  output: string,
  dtype: "f32" | "f16",
  { integer = false, steps = FEW_STEPS }: { integer?: boolean; steps?: number } = {},
): Threshold {
  if (integer || INTEGERS.has(output)) return { measure: "equal", limit: 0 };
  if (module === "dequantize") return { measure: "equal", limit: 0 };
  if (module === "torch.randn") return { measure: "max abs", limit: 1e-6 };
  if (dtype === "f16") return { measure: "relative L2", limit: 5e-3 };
  if (!module.endsWith("Pipeline") || output.startsWith("step.")) return { measure: "relative L2", limit: 1e-5 };
  return { measure: "relative L2", limit: steps > FEW_STEPS ? 1e-3 : 1e-4 };
}

/** A NaN or an infinity where the reference has none fails; so does the reverse, and another one than the reference's. */
export function compareTensors(output: string, got: HostTensor | undefined, want: HostTensor, threshold: Threshold): Comparison {
  const { measure, limit } = threshold;
  const nothing = { output, verdict: "fail" as const, maxAbs: NaN, judged: NaN, relativeL2: null, cosine: null, measure, threshold: limit };
  if (!got) return { ...nothing, note: "the engine gives no such output" };
  if (got.shape.join() !== want.shape.join())
    return { ...nothing, note: `shape [${got.shape.join(", ")}], expected [${want.shape.join(", ")}]` };
  let maxAbs = 0,
    worst = -1,
    error = 0,
    wantNorm = 0,
    gotNorm = 0,
    inner = 0,
    relative = 0,
    broken = 0,
    firstBroken = -1;
  for (let i = 0; i < want.data.length; i++) {
    const g = got.data[i]!;
    const w = want.data[i]!;
    if (!Number.isFinite(g) || !Number.isFinite(w)) {
      if (!Object.is(g, w) && broken++ === 0) firstBroken = i;
      continue;
    }
    const d = Math.abs(g - w);
    if (d > maxAbs) {
      maxAbs = d;
      worst = i;
    }
    error += d * d;
    relative = Math.max(relative, w === 0 ? d : d / Math.abs(w));
    wantNorm += w * w;
    gotNorm += g * g;
    inner += g * w;
  }
  const figures = {
    output,
    measure,
    maxAbs,
    judged: NaN,
    threshold: limit,
    relativeL2: wantNorm > 0 ? Math.sqrt(error / wantNorm) : null,
    cosine: wantNorm > 0 && gotNorm > 0 ? inner / Math.sqrt(wantNorm * gotNorm) : null,
    ...(worst >= 0 ? { worst: { at: coordinates(worst, want.shape), got: got.data[worst]!, want: want.data[worst]! } } : {}),
  };
  if (broken > 0)
    return {
      ...figures,
      verdict: "fail",
      note:
        `${broken} values differ in being finite, first at [${coordinates(firstBroken, want.shape).join(", ")}]: ` +
        `got ${got.data[firstBroken]}, expected ${want.data[firstBroken]}`,
    };
  const figure = {
    "relative L2": figures.relativeL2 ?? maxAbs,
    "L2 of largest": threshold.norm ? Math.sqrt(error) / threshold.norm : maxAbs,
    "L2 of change": threshold.norm ? Math.sqrt(error) / threshold.norm : maxAbs,
    "each relative": relative,
    "max abs": maxAbs,
    equal: maxAbs,
    "not judged": 0,
  }[measure];
  return { ...figures, judged: figure, verdict: figure <= limit ? "pass" : "fail" };
}

/** Of a tensor [steps, …] each step by itself. */
export function compareSteps(output: string, got: HostTensor | undefined, want: HostTensor, threshold: Threshold): Comparison[] {
  if (!got || got.shape.join() !== want.shape.join()) return [compareTensors(output, got, want, threshold)];
  const [steps = 1, ...shape] = want.shape;
  const size = want.data.length / steps;
  const part = (t: HostTensor, i: number): HostTensor => ({ shape, data: t.data.subarray(i * size, (i + 1) * size) });
  return Array.from({ length: steps }, (_, i) => compareTensors(output, part(got, i), part(want, i), threshold));
}

/** The one that is furthest beyond its limit or nearest to it. */
export function worstOf(comparisons: readonly Comparison[]): { index: number; comparison: Comparison } {
  const rank = (c: Comparison) => (c.note ? Infinity : (c.relativeL2 ?? c.maxAbs)); // a note says what figures cannot
  const index = comparisons.reduce((best, c, i) => (rank(c) > rank(comparisons[best]!) ? i : best), 0);
  return { index, comparison: comparisons[index]! };
}

/** One line that says how far off an output is. */
export function describe(c: Comparison): string {
  const figure = (v: number | null) => (v === null ? "–" : v.toExponential(2));
  return (
    `${c.output}: ${c.verdict}, max abs ${figure(c.maxAbs)}, relative L2 ${figure(c.relativeL2)}, ` +
    `cosine ${c.cosine === null ? "–" : c.cosine.toFixed(9)} (${limitOf(c)})${c.note ? `; ${c.note}` : ""}`
  );
}

/** What an output was held to; with its figure, where that is none of the usual columns. */
export function limitOf({ measure, judged, threshold }: Comparison): string {
  if (measure === "equal") return "must be equal";
  if (measure === "not judged") return measure;
  const usual = measure === "relative L2" || measure === "max abs" || Number.isNaN(judged);
  return `${measure} ${usual ? "" : `${judged.toExponential(2)} `}≤ ${threshold}`;
}

function coordinates(index: number, shape: readonly number[]): number[] {
  const at: number[] = [];
  for (let rest = index, axis = shape.length - 1; axis >= 0; axis--) {
    at.unshift(rest % shape[axis]!);
    rest = Math.floor(rest / shape[axis]!);
  }
  return at;
}
