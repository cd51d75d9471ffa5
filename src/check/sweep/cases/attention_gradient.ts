/** attention_gradient: head widths, lengths around the tiles, segments that share keys or leave some out, scores that overflow exp. */
import {
  attentionDkvFlash,
  attentionDkvOctet,
  attentionDkvSubgroupMatrix,
  attentionDqFlash,
  attentionDqOctet,
  attentionDqSubgroupMatrix,
  attentionRows,
} from "#kernels";
import type { Capabilities } from "../../../gpu/capabilities.ts";
import { gradientCandidates } from "../../../ops/attention/gradient_variants.ts";
import { attentionOp } from "../../../ops/attention.ts";
import { batchSegments, type Segment } from "../../../ops/attention/segments.ts";
import { attentionGradient } from "../../../ops/attention_gradient.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import type { Precision, Values } from "../draw.ts";
import { cpuKernel, eightLanes, matrixKernel, oneKernel, tiledKernel } from "../listed-kernels.ts";
import { clipRows, MIX } from "./attention.ts";

export interface AttentionGradientSizes {
  readonly heads: number;
  readonly rows: number;
  readonly d: number;
  /** Rows of k and v. Default: as many as queries. */
  readonly keys?: number;
  /** Default: one of all. */
  readonly segments?: readonly Segment[];
  /** Values of q and k lie in ± this. Default 2. */
  readonly spread?: number;
  /** Of scores. Default: 1 / √d. */
  readonly scale?: number;
  /** Segments are clips that a run is given. */
  readonly clips?: boolean;
}

/** By the definition: of y = softmax(scale · q·kᵀ) · v a segment, Σ dy·y differentiated with respect to q, k and v. */
export function attentionGradientReference(
  { heads, rows, d, keys = rows, segments = batchSegments(1, rows, keys), scale = 1 / Math.sqrt(d) }: AttentionGradientSizes,
  { q, k, v, dy }: Values,
): { dq: Float64Array; dk: Float64Array; dv: Float64Array } {
  const dq = new Float64Array(heads * rows * d);
  const [dk, dv] = [new Float64Array(heads * keys * d), new Float64Array(heads * keys * d)];
  const dot = (a: Float32Array, at: number, b: Float32Array, to: number): number => {
    let sum = 0;
    for (let c = 0; c < d; c++) sum += a[at + c]! * b[to + c]!;
    return sum;
  };
  for (let h = 0; h < heads; h++)
    for (const s of segments)
      for (let i = s.first; i < s.first + s.count; i++) {
        const [query, result] = [(h * rows + i) * d, (i * heads + h) * d];
        const key = (j: number): number => (h * keys + s.keyFirst + j) * d;
        const scores = Array.from({ length: s.keyCount }, (_, j) => scale * dot(q!, query, k!, key(j)));
        const top = scores.reduce((a, b) => Math.max(a, b));
        const powers = scores.map((x) => Math.exp(x - top));
        const total = powers.reduce((a, b) => a + b);
        const weights = powers.map((p) => p / total);
        const dWeights = weights.map((_, j) => dot(dy!, result, v!, key(j)));
        const mean = weights.reduce((sum, w, j) => sum + w * dWeights[j]!, 0);
        for (let j = 0; j < s.keyCount; j++) {
          const dScore = scale * weights[j]! * (dWeights[j]! - mean);
          for (let c = 0; c < d; c++) {
            dq[query + c]! += dScore * k![key(j) + c]!;
            dk[key(j) + c]! += dScore * q![query + c]!;
            dv[key(j) + c]! += weights[j]! * dy![result + c]!;
          }
        }
      }
  return { dq, dk, dv };
}

/** Head widths of the cases. */
const widthOf = new WeakMap<OpCase, number>();

function one(size: Size, sizes: AttentionGradientSizes, rest: Partial<OpCase> = {}, title = ""): OpCase {
  const {
    heads,
    rows,
    d,
    keys = rows,
    segments = batchSegments(1, rows, keys),
    spread = 2,
    scale = 1 / Math.sqrt(d),
    clips: given = false,
  } = sizes;
  const parts = `, ${segments.length} ${given ? "given clips" : "segments"}`;
  const made: OpCase = {
    size,
    name: `${heads} heads × ${rows} × ${d}${segments.length > 1 ? parts : ""}${title}`,
    ...rest,
    record: (draw) => {
      const q = draw.input("q", [heads, rows, d], { scale: spread });
      const k = draw.input("k", [heads, keys, d], { scale: spread });
      const v = draw.input("v", [heads, keys, d]);
      const dy = draw.input("dy", [rows, heads * d]);
      const attrs = { dtype: draw.type("y"), scale, segments, lse: true };
      const clips = given ? draw.graph.reshape(draw.rows("clips", clipRows(segments), "input"), [segments.length + 1, 2]) : undefined;
      const { y, lse } = draw.graph.record(attentionOp, { q, k, v, bias: undefined, clips }, attrs);
      const gradients = attentionGradient({ q, k, v, y, dy, lse, clips }, { scale, segments, want: new Set(["q", "k", "v"]) });
      return { dq: gradients.q!, dk: gradients.k!, dv: gradients.v! };
    },
    reference: (values) => ({ ...attentionGradientReference(sizes, values) }),
  };
  widthOf.set(made, d);
  return made;
}

/** Clips in a sequence that is longer: nothing before the first, between them and after the last is covered, queries or keys. */
const CLIPS = [
  { first: 3, count: 21, keyFirst: 3, keyCount: 21 },
  { first: 40, count: 1, keyFirst: 40, keyCount: 1 },
  { first: 41, count: 19, keyFirst: 41, keyCount: 19 },
];
/** Keys 7 and 33 to 39 are read by two segments, 49 by none. */
const SHARED = [
  { first: 5, count: 64, keyFirst: 33, keyCount: 16 },
  { first: 0, count: 5, keyFirst: 0, keyCount: 40 },
  { first: 69, count: 1, keyFirst: 7, keyCount: 1 },
];

/** GPUs that have no more workgroup memory than WebGPU promises. */
const SMALL = { kind: "hardware", subgroupMatrices: [], maxWorkgroupBytes: 16384 } as const;

/** The op's own rule: f16, and a tile that the adapter's matrices make. */
function takesMatrices(c: OpCase, caps: Capabilities, precision: Precision): boolean {
  return gradientCandidates({ ...caps, kind: "hardware", ...c.limits }, widthOf.get(c)!, precision === "f16").some(
    (v) => v.name === "subgroup_matrix",
  );
}

export const attentionGradientCases: OpCases = {
  op: "attention_gradient",
  kernels: [
    ...oneKernel(attentionRows),
    cpuKernel(attentionDqOctet, { needs: eightLanes }),
    cpuKernel(attentionDkvOctet, { needs: eightLanes }),
    matrixKernel(attentionDqSubgroupMatrix, { takes: takesMatrices }),
    matrixKernel(attentionDkvSubgroupMatrix, { takes: takesMatrices }),
    tiledKernel(attentionDqFlash),
    tiledKernel(attentionDkvFlash),
    { kernel: attentionDqFlash, when: SMALL },
    { kernel: attentionDkvFlash, when: SMALL },
  ],
  tolerance: { f32: 1e-5, f16: 1e-3 },
  cases: [
    one("tiny", { heads: 1, rows: 1, keys: 2, d: 4 }),
    one(
      "tiny",
      { heads: 1, rows: 3, d: 4, segments: [{ first: 1, count: 2, keyFirst: 0, keyCount: 2 }] },
      {},
      ", a query and a key in none",
    ),
    one("odd", { heads: 2, rows: 38, d: 64, segments: batchSegments(2, 19) }),
    one("odd", { heads: 3, rows: 67, d: 40 }),
    one("odd", { heads: 1, rows: 35, d: 128 }),
    one("odd", { heads: 2, rows: 99, d: 36, segments: batchSegments(3, 33) }),
    // A score of 1000 is known to 6e-5 in f32, and so are the weights of two keys that compete.
    one("odd", { heads: 2, rows: 67, d: 32, spread: 30 }, { tolerance: { f32: 2e-4, f16: 1e-3 } }, ", scores of ±1000"),
    one(
      "odd",
      { heads: 4, rows: 70, keys: 50, d: 32, segments: SHARED },
      { limits: { maxBindingBytes: 40960, maxGrid: 9 } },
      ", shared keys, in windows",
    ),
    one("odd", { heads: 3, rows: 44, keys: 57, d: 16 }, {}, ", heads of k at odd offsets"),
    one("odd", { heads: 3, rows: 150, d: 32, segments: CLIPS }, {}, ", padding between and after them"),
    one("tiny", { heads: 1, rows: 3, d: 4, segments: batchSegments(1, 3), clips: true }, {}, ", a given clip"),
    one("odd", { heads: 3, rows: 150, d: 40, segments: MIX, clips: true }),
    one(
      "odd",
      { heads: 4, rows: 150, d: 32, segments: MIX, clips: true },
      { limits: { maxBindingBytes: 81920, maxGrid: 9 } },
      ", in windows",
    ),
    one("model", { heads: 3, rows: 250, d: 64 }),
  ],
};
