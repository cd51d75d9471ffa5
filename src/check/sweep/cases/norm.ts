/** rms_norm, layer_norm, group_norm (statistics, merge, apply) and qk_norm_rope. */
import {
  groupNormApply,
  groupNormMerge,
  groupNormStats,
  layerNorm as layerNormKernel,
  layerNormSubgroup,
  qkNormRope as qkKernel,
  qkNormRopeSubgroup,
  rmsNorm as rmsKernel,
  rmsNormSubgroup,
} from "#kernels";
import type { Capabilities } from "../../../gpu/capabilities.ts";
import type { Kernel } from "../../../gpu/kernel.ts";
import { groupNorm } from "../../../ops/group_norm.ts";
import { layerNorm } from "../../../ops/layer_norm.ts";
import { qkNormRope } from "../../../ops/qk_norm_rope.ts";
import { matmul } from "../../../ops/matmul.ts";
import { matmulReference } from "./matmul.ts";
import { rmsNorm } from "../../../ops/rms_norm.ts";
import { cpuKernel, gpuKernel, oneKernel, padChannels, type OpCase, type OpCases, type Size, type Values } from "../case.ts";

const oneWidth = ({ subgroups }: Capabilities): string | undefined =>
  subgroups && subgroups.min === subgroups.max ? undefined : "subgroups of one width";

// ---------------------------------------------------------------- rms_norm

export interface RmsSizes {
  readonly rows: number;
  readonly c: number;
  readonly eps?: number;
}

export function rmsNormReference({ c, eps = 1e-6 }: RmsSizes, { x, weight }: Values): Float64Array {
  const y = new Float64Array(x!.length);
  for (let r = 0; r < y.length; r += c) {
    let sum = 0;
    for (let i = 0; i < c; i++) sum += x![r + i]! ** 2;
    for (let i = 0; i < c; i++) y[r + i] = (x![r + i]! * weight![i]!) / Math.sqrt(sum / c + eps);
  }
  return y;
}

function rms(
  size: Size,
  sizes: RmsSizes,
  { title = "", half = "y", scale = 3, limits }: { title?: string; half?: string; scale?: number; limits?: OpCase["limits"] } = {},
): OpCase {
  const { rows, c, eps } = sizes;
  return {
    size,
    name: `${rows} × ${c}${title} (${half})`,
    half: [...half],
    ...(limits ? { limits } : {}),
    record: (draw) => ({
      y: rmsNorm(draw.input("x", [rows, c], { scale }), draw.vector("weight", [c]), {
        dtype: draw.type("y"),
        ...(eps === undefined ? {} : { eps }),
      }),
    }),
    reference: (values) => ({ y: rmsNormReference(sizes, values) }),
  };
}

export const rmsNormCases: OpCases = {
  op: "rms_norm",
  kernels: [gpuKernel(rmsKernel as Kernel), cpuKernel(rmsNormSubgroup as Kernel, { needs: oneWidth })],
  tolerance: { f32: 1e-6, f16: 1e-3 },
  cases: [
    rms("tiny", { rows: 1, c: 4, eps: 1e-3 }),
    rms("odd", { rows: 3, c: 20, eps: 1e-3 }),
    rms("odd", { rows: 67, c: 516 }, { half: "xy" }),
    rms("odd", { rows: 5, c: 64, eps: 1e-20 }, { title: ", values of 1e5", scale: 1e5 }),
    rms("odd", { rows: 5, c: 64, eps: 1e-20 }, { title: ", values of 1e-5", scale: 1e-5 }),
    rms("odd", { rows: 300, c: 64 }, { title: ", in windows", limits: { maxBindingBytes: 16384, maxGrid: 17 } }),
    // More than 4 vectors for each thread of the largest workgroup.
    rms("odd", { rows: 6, c: 5124 }),
    rms("model", { rows: 226, c: 4096 }),
  ],
};

// ---------------------------------------------------------------- layer_norm

/** `run`: so many tokens after each other share a modulation. */
export interface LayerNormSizes {
  readonly run?: number;
  readonly rows: number;
  readonly d: number;
  readonly width?: number;
  readonly affine?: boolean;
  readonly modulated?: boolean;
  readonly source?: Uint32Array /** The rows that are asked for are an input. */;
  readonly given?: boolean;
}

/** Row of the modulation's table that a token's shift is in; its scale is in the next. */
const shiftRow = (r: number, run = 1): number => (Math.floor(r / run) % 3) * 2;

export function layerNormReference({ rows, d, width = d, source, run }: LayerNormSizes, { x, weight, bias, table }: Values): Float64Array {
  const out = source?.length ?? rows;
  const y = new Float64Array(out * d);
  for (let r = 0; r < out; r++) {
    const row = x!.subarray((source ? source[r]! : r) * d, ((source ? source[r]! : r) + 1) * d);
    let mean = 0;
    for (let i = 0; i < width; i++) mean += row[i]! / width;
    let variance = 0;
    for (let i = 0; i < width; i++) variance += (row[i]! - mean) ** 2 / width;
    for (let i = 0; i < width; i++) {
      let v = (row[i]! - mean) / Math.sqrt(variance + 1e-5);
      if (weight) v = v * weight[i]! + bias![i]!;
      if (table) v = v * (1 + table[(shiftRow(r, run) + 1) * d + i]!) + table[shiftRow(r, run) * d + i]!;
      y[r * d + i] = v;
    }
  }
  return y;
}

function layer(
  size: Size,
  sizes: LayerNormSizes,
  {
    title = "",
    half = "y",
    offset = 0,
    limits,
    tolerance,
  }: { title?: string; half?: string; offset?: number; limits?: OpCase["limits"]; tolerance?: OpCase["tolerance"] } = {},
): OpCase {
  const { rows, d, width, affine = true, modulated = true, source, given, run } = sizes;
  const out = source?.length ?? rows;
  return {
    size,
    name: `${rows} × ${d}${width ? ` of which ${width} count` : ""}${affine ? ", affine" : ""}${modulated ? ", modulated" : ""}${run ? ` by ${run} rows` : ""}${source ? `, ${out} rows of it${given ? ", an input" : ""}` : ""}${title} (${half})`,
    half: [...half],
    ...(limits ? { limits } : {}),
    ...(tolerance ? { tolerance } : {}),
    record: (draw) => ({
      y: layerNorm(draw.input("x", [rows, d], { offset }), {
        dtype: draw.type("y"),
        ...(width ? { width } : {}),
        ...(affine ? { weight: draw.vector("weight", [width ?? d]), bias: draw.vector("bias", [width ?? d]) } : {}),
        ...(modulated
          ? {
              modulation: {
                table: draw.input32("table", [6, d]),
                rows: draw.rows(
                  "rows",
                  Uint32Array.from({ length: out }, (_, r) => shiftRow(r, run)),
                ),
              },
            }
          : {}),
        ...(source ? { source: draw.rows("source", source, given ? "input" : "constant") } : {}),
      }),
    }),
    reference: (values) => ({ y: layerNormReference(sizes, values) }),
  };
}

export const layerNormCases: OpCases = {
  op: "layer_norm",
  kernels: [gpuKernel(layerNormKernel as Kernel), cpuKernel(layerNormSubgroup as Kernel, { needs: oneWidth })],
  tolerance: { f32: 1e-5, f16: 1e-3 },
  cases: [
    layer("tiny", { rows: 1, d: 4 }),
    layer("odd", { rows: 67, d: 260 }),
    layer("odd", { rows: 67, d: 260 }, { half: "xy" }),
    layer("odd", { rows: 1100, d: 12, run: 37 }),
    layer("odd", { rows: 1100, d: 12, run: 37 }, { half: "xy" }),
    // Columns past the width hold something, which does not count.
    layer("tiny", { rows: 1, d: 4, width: 1 }),
    layer("odd", { rows: 19, d: 36, width: 26 }),
    layer("odd", { rows: 19, d: 36, width: 33, affine: false, modulated: false }, { half: "xy" }),
    layer("odd", { rows: 1100, d: 12, width: 5, run: 37 }),
    // More than 4 vectors for each thread of the largest workgroup.
    layer("odd", { rows: 2, d: 6148 }),
    layer("odd", { rows: 5, d: 64, affine: false }),
    layer("odd", { rows: 5, d: 64, modulated: false }),
    layer("odd", { rows: 40, d: 64, modulated: false, source: Uint32Array.of(30, 31, 32, 7) }),
    // A variance from E[x²] − mean² would lose all its digits here; what is left is the f32 subtraction of a mean of 300.
    layer("odd", { rows: 5, d: 260 }, { offset: 300, title: ", a mean 300 times the deviation", tolerance: { f32: 1e-4, f16: 1e-3 } }),
    layer(
      "odd",
      {
        rows: 400,
        d: 64,
        affine: false,
        modulated: false,
        source: Uint32Array.from({ length: 120 }, (_, r) => (r < 60 ? 20 + r : 80 + r)),
      },
      { limits: { maxBindingBytes: 40960, maxGrid: 17 }, title: ", in windows" },
    ),
    // Rows that no run of x holds: known and far apart, or not known.
    layer(
      "odd",
      { rows: 400, d: 64, source: Uint32Array.from({ length: 120 }, (_, r) => (r * 179) % 400) },
      { limits: { maxBindingBytes: 40960, maxGrid: 17 }, title: ", in windows" },
    ),
    layer(
      "odd",
      { rows: 400, d: 64, given: true, source: Uint32Array.from({ length: 120 }, (_, r) => (r < 60 ? 20 + r : 80 + r)) },
      { limits: { maxBindingBytes: 40960, maxGrid: 17 }, title: ", in windows" },
    ),
    layer("odd", { rows: 40, d: 64, given: true, source: Uint32Array.of(30, 31, 32, 7) }),
    ...[1920, 3072].flatMap((d) => [layer("model", { rows: 67, d }), layer("model", { rows: 523, d, run: 226 })]),
    ...[1920, 3072].map((d) =>
      layer("model", { rows: 67, d, modulated: false, source: Uint32Array.from({ length: 40 }, (_, r) => 26 + r) }),
    ),
  ],
};

// ---------------------------------------------------------------- group_norm

export interface GroupNormSizes {
  /** B, T, H, W, C */
  readonly x: readonly [number, number, number, number, number];
  readonly groups: number;
  /** Frames, rows and columns of scale and shift. */
  readonly z?: readonly [number, number, number];
  readonly silu?: boolean;
}

const GROUP_EPS = 1e-6;

/** Scale and shift at the nearest position. */
export function groupNormReference(
  { x: [B, T, H, W, C], groups, z, silu }: GroupNormSizes,
  { x, weight, bias, scale, shift }: Values,
): Float64Array {
  const width = C / groups;
  const y = new Float64Array(x!.length);
  for (let b = 0; b < B; b++)
    for (let g = 0; g < groups; g++) {
      const at: number[] = [];
      for (let p = 0; p < T * H * W; p++) for (let k = 0; k < width; k++) at.push((b * T * H * W + p) * C + g * width + k);
      const mean = at.reduce((s, i) => s + x![i]!, 0) / at.length;
      const rstd = 1 / Math.sqrt(at.reduce((s, i) => s + (x![i]! - mean) ** 2, 0) / at.length + GROUP_EPS);
      for (const i of at) y[i] = (x![i]! - mean) * rstd * weight![i % C]! + bias![i % C]!;
    }
  if (z) {
    const [tz, hz, wz] = z;
    const apart = T > 1 && T % 2 === 1;
    for (let i = 0; i < y.length; i++) {
      const p = Math.floor(i / C);
      const [w, h, t, b] = [p % W, Math.floor(p / W) % H, Math.floor(p / W / H) % T, Math.floor(p / W / H / T)];
      const frame = apart ? (t === 0 ? 0 : 1 + Math.floor(((t - 1) * (tz - 1)) / (T - 1))) : Math.floor((t * tz) / T);
      const from = (((b * tz + frame) * hz + Math.floor((h * hz) / H)) * wz + Math.floor((w * wz) / W)) * C + (i % C);
      y[i] = y[i]! * scale![from]! + shift![from]!;
    }
  }
  return padChannels(silu ? y.map((v) => v / (1 + Math.exp(-v))) : y, C);
}

function group(
  size: Size,
  title: string,
  sizes: GroupNormSizes,
  {
    half = "y",
    offset = 0,
    limits,
    tolerance,
  }: { half?: string; offset?: number; limits?: OpCase["limits"]; tolerance?: OpCase["tolerance"] } = {},
): OpCase {
  const [B, , , , C] = sizes.x;
  return {
    size,
    name: `${title}${sizes.silu ? ", SiLU" : ""}, [${sizes.x.join(", ")}] (${half})`,
    half: [...half],
    ...(limits ? { limits } : {}),
    ...(tolerance ? { tolerance } : {}),
    record: (draw) => ({
      y: groupNorm(draw.video("x", sizes.x, { offset }), draw.vector("weight", [C]), draw.vector("bias", [C]), {
        groups: sizes.groups,
        eps: GROUP_EPS,
        dtype: draw.type("y"),
        ...(sizes.silu ? { activation: "silu" as const } : {}),
        ...(sizes.z
          ? {
              spatial: {
                scale: draw.video("scale", [B, ...sizes.z, C], { dtype: "f32" }),
                shift: draw.video("shift", [B, ...sizes.z, C], { dtype: "f32" }),
              },
            }
          : {}),
      }),
    }),
    reference: (values) => ({ y: groupNormReference(sizes, values) }),
  };
}

export const groupNormCases: OpCases = {
  op: "group_norm",
  kernels: [groupNormStats, groupNormMerge, groupNormApply].flatMap((kernel) => oneKernel(kernel as Kernel)),
  tolerance: { f32: 2e-6, f16: 1e-3 },
  cases: [
    group("tiny", "one position", { x: [1, 1, 1, 1, 4], groups: 1, silu: true }),
    group("odd", "one group of all", { x: [2, 1, 3, 5, 4], groups: 1 }),
    group("odd", "groups that straddle vectors", { x: [1, 2, 3, 7, 6], groups: 2, silu: true }, { half: "xy" }),
    group("odd", "a channel a group", { x: [1, 3, 5, 9, 10], groups: 10 }),
    group("odd", "several slices", { x: [2, 5, 11, 13, 8], groups: 4, silu: true }),
    // x itself carries 2^-24 of its mean: with a mean of 300 deviations no f32 norm can do better.
    group(
      "odd",
      "a mean 300 times the deviation",
      { x: [1, 2, 9, 16, 8], groups: 2 },
      { offset: 300, tolerance: { f32: 3e-5, f16: 1e-3 } },
    ),
    group("odd", "spatial, even frames", { x: [1, 4, 6, 10, 8], groups: 2, z: [2, 3, 5], silu: true }),
    group("odd", "spatial, odd frames", { x: [2, 9, 6, 4, 12], groups: 3, z: [3, 3, 2], silu: true }),
    group("odd", "spatial, odd frames", { x: [2, 9, 6, 4, 12], groups: 3, z: [3, 3, 2] }, { half: "xy" }),
    group("odd", "spatial, one frame", { x: [1, 1, 8, 12, 5], groups: 5, z: [1, 1, 3] }),
    group("odd", "spatial, rows of many columns", { x: [1, 2, 2, 131, 4], groups: 1, z: [1, 1, 9], silu: true }),
    group("odd", "spatial, same size", { x: [1, 3, 3, 5, 4], groups: 1, z: [3, 3, 5] }),
    group("odd", "in windows", { x: [2, 9, 12, 16, 8], groups: 4, silu: true }, { limits: { maxBindingBytes: 8192, maxGrid: 30 } }),
    group(
      "odd",
      "in windows, spatial",
      { x: [1, 9, 16, 20, 4], groups: 2, z: [3, 2, 5] },
      { limits: { maxBindingBytes: 8192, maxGrid: 30 } },
    ),
    group("model", "decoder, spatial", { x: [1, 3, 12, 20, 512], groups: 32, z: [3, 6, 10], silu: true }),
    group("model", "encoder", { x: [1, 4, 24, 40, 128], groups: 32, silu: true }),
  ],
};

// ---------------------------------------------------------------- qk_norm_rope

/** `made`: projections by head, which the op overwrites; else inputs, which it leaves. */
export interface QkSizes {
  readonly rows: number;
  readonly heads: number;
  readonly d: number;
  readonly norm?: boolean;
  readonly rope?: boolean;
  readonly made?: boolean;
}

const position = (r: number): number => (r * 7) % 5;
/** Inputs of a projection. */
const INNER = 16;

/** q or k, [heads, rows, d]. */
export function qkReference({ rows, heads, d }: QkSizes, x: ArrayLike<number>, norm?: Float32Array, rope?: Float32Array): Float64Array {
  const out = new Float64Array(heads * rows * d);
  for (let h = 0; h < heads; h++)
    for (let r = 0; r < rows; r++) {
      const at = (h * rows + r) * d;
      let v = Array.from({ length: d }, (_, i) => x[at + i]!);
      if (norm) {
        const mean = v.reduce((a, b) => a + b) / d;
        const variance = v.reduce((a, b) => a + (b - mean) ** 2, 0) / d;
        v = v.map((value, i) => ((value - mean) / Math.sqrt(variance + 1e-6)) * norm[i]! + norm[d + i]!);
      }
      if (rope) {
        const turn = (i: number): number => rope[position(r) * d + i]!;
        v = v.map((value, i) => (i % 2 ? value * turn(i - 1) + v[i - 1]! * turn(i) : value * turn(i) - v[i + 1]! * turn(i + 1)));
      }
      out.set(v, at);
    }
  return out;
}

function qk(size: Size, sizes: QkSizes, limits?: OpCase["limits"]): OpCase {
  const { rows, heads, d, norm = true, rope = true, made = true } = sizes;
  const before = (v: Values, name: "q" | "k"): ArrayLike<number> =>
    made ? matmulReference({ m: rows, n: heads * d, k: INNER }, { heads: d }, { x: v["x"]!, w: v[`w${name}`]! }) : v[name]!;
  return {
    size,
    name: `${rows} rows × ${heads} heads × ${d}${norm ? ", normalised" : ""}${rope ? ", rotated" : ""}${made ? ", in place" : ""}${limits ? ", in windows" : ""}`,
    ...(limits ? { limits } : {}),
    half: ["q", "k"],
    record: (draw) => {
      const x = made ? draw.input32("x", [rows, INNER]) : undefined;
      const part = (name: "q" | "k") =>
        x
          ? matmul(x, draw.weight(`w${name}`, [heads * d, INNER], { dtype: "f32" }), { heads: d, dtype: draw.type(name) })
          : draw.input(name, [heads, rows, d], { scale: 3 });
      const { q, k } = qkNormRope(part("q"), part("k"), {
        ...(norm ? { norm: { q: draw.input32("norm_q", [2, d]), k: draw.input32("norm_k", [2, d]), eps: 1e-6 } } : {}),
        ...(rope
          ? {
              rope: {
                table: draw.input32("rope", [5, d]),
                position: draw.rows(
                  "position",
                  Uint32Array.from({ length: rows }, (_, r) => position(r)),
                ),
              },
            }
          : {}),
      });
      // Outputs of a graph are not named like its inputs.
      return { q_done: q, k_done: k };
    },
    reference: (v) => ({
      q_done: qkReference(sizes, before(v, "q"), v["norm_q"], v["rope"]),
      k_done: qkReference(sizes, before(v, "k"), v["norm_k"], v["rope"]),
    }),
  };
}

export const qkNormRopeCases: OpCases = {
  op: "qk_norm_rope",
  kernels: [
    gpuKernel(qkKernel as Kernel),
    // A head of 128 is more than the lanes of a subgroup of 4 hold.
    cpuKernel(qkNormRopeSubgroup as Kernel, { needs: oneWidth, takes: (c, caps) => !c.name.includes("× 128") || caps.subgroups!.max >= 8 }),
  ],
  tolerance: { f32: 1e-5, f16: 1e-3 },
  cases: [
    qk("tiny", { rows: 1, heads: 1, d: 4 }),
    qk("tiny", { rows: 1, heads: 1, d: 4, made: false }),
    qk("odd", { rows: 19, heads: 3, d: 16 }),
    qk("odd", { rows: 35, heads: 2, d: 64, made: false }),
    qk("odd", { rows: 9, heads: 5, d: 40 }),
    qk("odd", { rows: 7, heads: 1, d: 128 }),
    qk("odd", { rows: 7, heads: 3, d: 64, rope: false }),
    qk("odd", { rows: 7, heads: 3, d: 64, norm: false }),
    qk("odd", { rows: 7, heads: 3, d: 40, norm: false, made: false }),
    qk("odd", { rows: 260, heads: 12, d: 16 }, { maxBindingBytes: 80 * 1024, maxGrid: 50 }),
    qk("odd", { rows: 261, heads: 12, d: 16, made: false }, { maxBindingBytes: 80 * 1024, maxGrid: 50 }),
    qk("model", { rows: 67, heads: 30, d: 64 }),
    qk("model", { rows: 67, heads: 30, d: 64, rope: false }),
    qk("model", { rows: 67, heads: 48, d: 64 }),
  ],
};
