/** Compares what the engine gave with what the reference gave, and says whether that is near enough. */
import type { HostTensor } from "./module.ts";

export type Verdict = "pass" | "fail";

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
  /** What was judged, and the limit it was held to. */
  readonly measure: "relative L2" | "max abs" | "equal";
  readonly threshold: number;
  /** Why it fails, where the figures do not say it. */
  readonly note?: string;
}

export interface Threshold {
  readonly measure: Comparison["measure"];
  readonly limit: number;
}

/** Outputs that are integers whatever dtype the file has them in. */
const INTEGERS = new Set(["input_ids", "timesteps"]);

/** The limit for an output: by module and storage type. */
export function thresholdFor(module: string, output: string, dtype: "f32" | "f16", integer = false): Threshold {
  if (integer || INTEGERS.has(output)) return { measure: "equal", limit: 0 };
  if (module === "torch.randn") return { measure: "max abs", limit: 1e-6 };
  if (dtype === "f16") return { measure: "relative L2", limit: 5e-3 };
  return { measure: "relative L2", limit: module.endsWith("Pipeline") ? 1e-4 : 1e-5 };
}

/** A NaN or an infinity where the reference has none fails; so does the reverse, and another one than the reference's. */
export function compareTensors(output: string, got: HostTensor | undefined, want: HostTensor, { measure, limit }: Threshold): Comparison {
  const nothing = { output, verdict: "fail" as const, maxAbs: NaN, relativeL2: null, cosine: null, measure, threshold: limit };
  if (!got) return { ...nothing, note: "the engine gives no such output" };
  if (got.shape.join() !== want.shape.join()) return { ...nothing, note: `shape [${got.shape.join(", ")}], expected [${want.shape.join(", ")}]` };
  let maxAbs = 0, error = 0, wantNorm = 0, gotNorm = 0, inner = 0, broken = 0, firstBroken = -1;
  for (let i = 0; i < want.data.length; i++) {
    const g = got.data[i]!;
    const w = want.data[i]!;
    if (!Number.isFinite(g) || !Number.isFinite(w)) {
      if (!Object.is(g, w) && broken++ === 0) firstBroken = i;
      continue;
    }
    const d = Math.abs(g - w);
    if (d > maxAbs) maxAbs = d;
    error += d * d;
    wantNorm += w * w;
    gotNorm += g * g;
    inner += g * w;
  }
  const figures = {
    output, measure, maxAbs, threshold: limit,
    relativeL2: wantNorm > 0 ? Math.sqrt(error / wantNorm) : null,
    cosine: wantNorm > 0 && gotNorm > 0 ? inner / Math.sqrt(wantNorm * gotNorm) : null,
  };
  if (broken > 0) return { ...figures, verdict: "fail", note: `${broken} values differ in being finite, first at [${coordinates(firstBroken, want.shape).join(", ")}]: got ${got.data[firstBroken]}, expected ${want.data[firstBroken]}` };
  const judged = measure === "relative L2" && figures.relativeL2 !== null ? figures.relativeL2 : maxAbs;
  return { ...figures, verdict: judged <= limit ? "pass" : "fail" };
}

/** One line that says how far off an output is. */
export function describe(c: Comparison): string {
  const figure = (v: number | null) => (v === null ? "–" : v.toExponential(2));
  const limit = c.measure === "equal" ? "must be equal" : `${c.measure} ≤ ${c.threshold}`;
  return `${c.output}: ${c.verdict}, max abs ${figure(c.maxAbs)}, relative L2 ${figure(c.relativeL2)}, cosine ${c.cosine === null ? "–" : c.cosine.toFixed(9)} (${limit})${c.note ? `; ${c.note}` : ""}`;
}

function coordinates(index: number, shape: readonly number[]): number[] {
  const at: number[] = [];
  for (let rest = index, axis = shape.length - 1; axis >= 0; axis--) {
    at.unshift(rest % shape[axis]!);
    rest = Math.floor(rest / shape[axis]!);
  }
  return at;
}
