/** attention: head widths, lengths around the tiles, packed segments, scores that overflow exp, a bias by distance. */
import {
  attentionFlash,
  attentionOctet,
  attentionQuad,
  attentionSubgroupMatrix,
  clipTiles,
  transposePanels,
  zeroColumns,
  zeroRows,
} from "#kernels";
import type { Capabilities } from "../../../gpu/capabilities.ts";
import { attention, attentionCandidates, attentionOp, batchSegments, type Segment } from "../../../ops/attention.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import type { Precision, Values } from "../draw.ts";
import { cpuKernel, eightLanes, fewerLanes, matrixKernel, oneKernel, tiledKernel } from "../listed-kernels.ts";

export interface AttentionSizes {
  readonly heads: number;
  readonly rows: number;
  readonly d: number;
  /** Rows of k and v. Default: as many as queries. */
  readonly keys?: number;
  /** Default: one of all. */
  readonly segments?: readonly Segment[];
  /** Values of q and k lie in ± this. Default 2. */
  readonly spread?: number;
  /** Of scores. Default: 1 with a bias, else 1 / √d. */
  readonly scale?: number;
  /** Values of a bias lie in ± this. Default: no bias, and scores are divided by √d; with one they are not, as in T5. */
  readonly bias?: number;
  /** With the log-sum-exp of every query, as gradients need it. */
  readonly lse?: boolean;
  /** Segments are clips that a run is given: rows of each that see each other, all rows once. */
  readonly clips?: boolean;
}

/** What a run is given for segments that are clips; one without rows is among them. */
export const clipRows = (segments: readonly Segment[]): Uint32Array =>
  Uint32Array.from([0, 0, ...segments.flatMap(({ first, count }) => [first, count])]);

/** Length of the longest segment. */
const longest = (segments: readonly Segment[]): number => Math.max(...segments.flatMap((s) => [s.count, s.keyCount]));

/** softmax(scale · q·kᵀ + bias) · v a segment, by the definition; zeros for a query that is in none. */
export function attentionReference(sizes: AttentionSizes, values: Values): Float64Array {
  return attentionResults(sizes, values).y;
}

/** With log Σ exp(score) of every query by head, zero for one that is in no segment. */
export function attentionResults(
  { heads, rows, d, keys = rows, segments = batchSegments(1, rows, keys), scale }: AttentionSizes,
  { q, k, v, bias }: Values,
): { y: Float64Array; lse: Float64Array } {
  const length = longest(segments);
  const y = new Float64Array(rows * heads * d);
  const lse = new Float64Array(heads * rows);
  for (let h = 0; h < heads; h++)
    for (const s of segments)
      for (let i = s.first; i < s.first + s.count; i++) {
        const scores = Array.from({ length: s.keyCount }, (_, j) => {
          let dot = 0;
          for (let c = 0; c < d; c++) dot += q![(h * rows + i) * d + c]! * k![(h * keys + s.keyFirst + j) * d + c]!;
          return dot * (scale ?? (bias ? 1 : 1 / Math.sqrt(d))) + (bias ? bias[h * (2 * length - 1) + j - (i - s.first) + length - 1]! : 0);
        });
        const top = scores.reduce((a, b) => Math.max(a, b));
        const weights = scores.map((x) => Math.exp(x - top));
        const sum = weights.reduce((a, b) => a + b);
        lse[h * rows + i] = top + Math.log(sum);
        for (let j = 0; j < s.keyCount; j++)
          for (let c = 0; c < d; c++) y[(i * heads + h) * d + c]! += (weights[j]! / sum) * v![(h * keys + s.keyFirst + j) * d + c]!;
      }
  return { y, lse };
}

/** Head widths of the cases, and those with queries in no segment. */
const widthOf = new WeakMap<OpCase, number>();
const padded = new WeakSet<OpCase>();
/** Those with clips that a run is given. */
const given = new WeakSet<OpCase>();
/** Those of them whose log-sum-exp is a result. */
const paddedLse = new WeakSet<OpCase>();

function one(size: Size, sizes: AttentionSizes, rest: Partial<OpCase> = {}, title = ""): OpCase {
  const { heads, rows, d, keys = rows, segments = batchSegments(1, rows, keys), spread = 2, bias, lse = false, clips = false } = sizes;
  const made: OpCase = {
    size,
    name:
      `${heads} heads × ${rows} × ${d}${segments.length > 1 ? `, ${segments.length} ${clips ? "given clips" : "segments"}` : ""}` +
      `${bias ? ", bias" : ""}${title}`,
    ...rest,
    record: (draw) => {
      const [q, k, v] = [
        draw.input("q", [heads, rows, d], { scale: spread }),
        draw.input("k", [heads, keys, d], { scale: spread }),
        draw.input("v", [heads, keys, d]),
      ];
      const dtype = draw.type("y");
      if (clips) {
        const given = draw.graph.reshape(draw.rows("clips", clipRows(segments), "input"), [segments.length + 1, 2]);
        return { y: attention(q, k, v, { segments: { clips: given }, dtype }) };
      }
      if (lse) {
        const attrs = { dtype, scale: 1 / Math.sqrt(d), segments, lse };
        return { ...draw.graph.record(attentionOp, { q, k, v, bias: undefined }, attrs) };
      }
      const biased = bias ? { scale: 1, bias: draw.input32("bias", [heads, 2 * longest(segments) - 1], { scale: bias }) } : {};
      return { y: attention(q, k, v, { segments, dtype, ...biased }) };
    },
    reference: (values): Record<string, Float64Array> => {
      const results = attentionResults(sizes, values);
      return lse ? { ...results } : { y: results.y };
    },
  };
  widthOf.set(made, d);
  if (clips) given.add(made);
  if (segments.reduce((n, s) => n + s.count, 0) < rows) padded.add(made);
  if (lse && padded.has(made)) paddedLse.add(made);
  return made;
}

/** The op's own rule: f16, and a tile that the adapter's matrices make. */
function takesMatrices(c: OpCase, caps: Capabilities, precision: Precision): boolean {
  return attentionCandidates({ ...caps, kind: "hardware", ...c.limits }, widthOf.get(c)!, precision === "f16").some(
    (v) => v.name === "subgroup_matrix",
  );
}

/** Clips in a sequence that is longer: nothing before the first, between them and after the last is covered. */
const CLIPS = [
  { first: 3, count: 21, keyFirst: 3, keyCount: 21 },
  { first: 40, count: 1, keyFirst: 40, keyCount: 1 },
  { first: 41, count: 19, keyFirst: 41, keyCount: 19 },
];
const PACKED = [
  { first: 0, count: 5, keyFirst: 0, keyCount: 33 },
  { first: 5, count: 64, keyFirst: 33, keyCount: 17 },
  { first: 69, count: 1, keyFirst: 7, keyCount: 1 },
];

/** Clips that fill 150 rows. */
export const MIX: readonly Segment[] = [
  [0, 1],
  [1, 67],
  [68, 33],
  [101, 32],
  [133, 17],
].map(([first, count]) => ({ first: first!, count: count!, keyFirst: first!, keyCount: count! }));

/** Small scores with a bias, as T5 has them. */
const BIASED = { f32: 2e-6, f16: 1e-3 };

export const attentionCases: OpCases = {
  op: "attention",
  kernels: [
    cpuKernel(attentionOctet, { needs: eightLanes }),
    cpuKernel(attentionQuad, { needs: fewerLanes }),
    cpuKernel(transposePanels),
    matrixKernel(attentionSubgroupMatrix, { takes: takesMatrices }),
    tiledKernel(attentionFlash),
    // The tile of GPUs that have no more workgroup memory than WebGPU promises.
    { kernel: attentionFlash, when: { kind: "hardware", subgroupMatrices: [], maxWorkgroupBytes: 16384 } },
    ...oneKernel(zeroRows).map((choice) => ({ ...choice, takes: (c: OpCase) => padded.has(c) })),
    ...oneKernel(clipTiles).map((choice) => ({ ...choice, takes: (c: OpCase) => given.has(c) })),
    ...oneKernel(zeroColumns).map((choice) => ({ ...choice, takes: (c: OpCase) => paddedLse.has(c) })),
  ],
  tolerance: { f32: 1e-5, f16: 1e-3 },
  cases: [
    one("tiny", { heads: 1, rows: 1, d: 4 }),
    one("odd", { heads: 2, rows: 38, d: 64, segments: batchSegments(2, 19) }),
    one("odd", { heads: 3, rows: 67, d: 40 }),
    one("odd", { heads: 1, rows: 35, d: 128 }),
    one("odd", { heads: 2, rows: 99, d: 36, segments: batchSegments(3, 33) }),
    one("odd", { heads: 2, rows: 67, d: 32, spread: 30 }, {}, ", scores of ±1000"),
    one(
      "odd",
      { heads: 4, rows: 70, keys: 50, d: 32, segments: PACKED },
      { limits: { maxBindingBytes: 32768, maxGrid: 9 } },
      ", of other lengths, in windows",
    ),
    // A head of k begins where no binding may, on CPU adapters too, which take a third of the heads at a time.
    one("odd", { heads: 3, rows: 44, keys: 57, d: 16 }, {}, ", heads of k at odd offsets"),
    one("tiny", { heads: 1, rows: 2, d: 4, segments: [{ first: 1, count: 1, keyFirst: 0, keyCount: 1 }] }, {}, ", a query in none"),
    one("odd", { heads: 3, rows: 150, d: 32, segments: CLIPS }, {}, ", padding between and after them"),
    one(
      "odd",
      { heads: 4, rows: 150, d: 32, segments: CLIPS, spread: 1, bias: 4 },
      { tolerance: BIASED, limits: { maxBindingBytes: 20480, maxGrid: 9 } },
      ", padding, in windows",
    ),
    one("tiny", { heads: 1, rows: 2, d: 4, segments: [{ first: 1, count: 1, keyFirst: 0, keyCount: 2 }], lse: true }, {}, ", log-sum-exp"),
    one("odd", { heads: 3, rows: 150, d: 32, segments: CLIPS, lse: true }, {}, ", padding, log-sum-exp"),
    one("odd", { heads: 2, rows: 67, d: 40, spread: 30, lse: true }, {}, ", scores of ±1000, log-sum-exp"),
    one(
      "odd",
      { heads: 4, rows: 70, keys: 50, d: 64, segments: PACKED, lse: true },
      { limits: { maxBindingBytes: 71680, maxGrid: 9 } },
      ", in windows, log-sum-exp",
    ),
    one("tiny", { heads: 1, rows: 1, d: 4, bias: 2 }, { tolerance: BIASED }),
    one("odd", { heads: 3, rows: 67, d: 40, spread: 1, bias: 40 }, { tolerance: BIASED }),
    one("odd", { heads: 1, rows: 35, d: 128, spread: 1, bias: 4 }, { tolerance: BIASED }),
    one("odd", { heads: 2, rows: 99, d: 40, segments: batchSegments(3, 33), spread: 1, bias: 4 }, { tolerance: BIASED }),
    one("odd", { heads: 2, rows: 150, d: 32, spread: 1, bias: 900 }, {}, " of ±900"),
    one(
      "odd",
      { heads: 4, rows: 70, keys: 50, d: 32, segments: PACKED, spread: 1, bias: 4 },
      { tolerance: BIASED, limits: { maxBindingBytes: 32768, maxGrid: 9 } },
      ", of other lengths, in windows",
    ),
    one("tiny", { heads: 1, rows: 3, d: 4, segments: batchSegments(1, 3), clips: true }, {}, ", a given clip"),
    one("odd", { heads: 3, rows: 150, d: 40, segments: MIX, clips: true }),
    one(
      "odd",
      { heads: 4, rows: 150, d: 32, segments: MIX, clips: true },
      { limits: { maxBindingBytes: 32768, maxGrid: 9 } },
      ", in windows",
    ),
    one("model", { heads: 3, rows: 250, d: 64 }),
    // T5-XXL.
    one("model", { heads: 64, rows: 226, d: 64, spread: 1, bias: 8 }, { tolerance: BIASED }),
  ],
};
