/** The cases that the project has figures to reach for, each at a shape that a published model really has. */
import type { BenchCase, Target } from "./case.ts";

/** x [m, k] · w [n, k]ᵀ */
export interface MatmulSizes {
  readonly m: number;
  readonly k: number;
  readonly n: number;
}
/** q, k, v [heads, length, width] → [length, heads · width] */
export interface AttentionSizes {
  readonly heads: number;
  readonly length: number;
  readonly width: number;
}
/** x [1, cin, frames, height, width], 3×3×3 causal in time (or 3×3 in space with `taps` 1) */
export interface ConvSizes {
  readonly cin: number;
  readonly cout: number;
  readonly taps: 1 | 3;
  readonly frames: number;
  readonly height: number;
  readonly width: number;
}
/** LayerNorm with weight and bias, then · (1 + scale) + shift */
export interface AdaLnSizes {
  readonly rows: number;
  readonly width: number;
}
export interface GroupNormSizes {
  readonly frames: number;
  readonly height: number;
  readonly width: number;
  readonly channels: number;
  readonly groups: number;
}

export type FigureCase =
  | BenchCase<"matmul", MatmulSizes>
  | BenchCase<"attention", AttentionSizes>
  | BenchCase<"attention_gradient", AttentionSizes>
  | BenchCase<"conv3d", ConvSizes>
  | BenchCase<"adaln", AdaLnSizes>
  | BenchCase<"group_norm", GroupNormSizes>;

export function matmulCase(s: MatmulSizes, target?: Target): BenchCase<"matmul", MatmulSizes> {
  return {
    name: `matmul ${s.m}×${s.k}×${s.n} f32`,
    level: "op",
    kind: "matmul",
    sizes: s,
    tolerance: 1e-5,
    ...(target ? { target } : {}),
    inputs: { x: { shape: [s.m, s.k], seed: 1 } },
    weights: { w: { shape: [s.n, s.k], seed: 2, scale: s.k ** -0.5 } },
    output: [s.m, s.n],
  };
}

export function attentionCase(s: AttentionSizes, target?: Target): BenchCase<"attention", AttentionSizes> {
  const shape = [s.heads, s.length, s.width];
  return {
    name: `attention ${s.heads} heads × ${s.length} × ${s.width}`,
    level: "op",
    kind: "attention",
    sizes: s,
    tolerance: 1e-5,
    ...(target ? { target } : {}),
    inputs: { q: { shape, seed: 1, scale: 2 }, k: { shape, seed: 2, scale: 2 }, v: { shape, seed: 3 } },
    weights: {},
    output: [s.length, s.heads * s.width],
  };
}

/** The gradients of attention, from its result and log-sum-exp; what is compared is dk, which all that is computed goes into. */
export function attentionGradientCase(s: AttentionSizes): BenchCase<"attention_gradient", AttentionSizes> {
  return {
    ...attentionCase(s),
    name: `attention gradient ${s.heads} heads × ${s.length} × ${s.width}`,
    kind: "attention_gradient",
    inputs: { ...attentionCase(s).inputs, dy: { shape: [s.length, s.heads * s.width], seed: 4 } },
    output: [s.heads, s.length, s.width],
  };
}

export function convCase(s: ConvSizes, target?: Target): BenchCase<"conv3d", ConvSizes> {
  const size = s.taps === 1 ? `${s.height}×${s.width}` : `${s.frames}×${s.height}×${s.width}`;
  return {
    name: `${s.taps === 1 ? "conv2d 3×3" : "causal conv3d 3×3×3"} ${s.cin}→${s.cout}, ${size}`,
    level: "op",
    kind: "conv3d",
    sizes: s,
    tolerance: 1e-5,
    ...(target ? { target } : {}),
    inputs: { x: { shape: [1, s.cin, s.frames, s.height, s.width], seed: 1 } },
    weights: { w: { shape: [s.cout, s.cin, s.taps, 3, 3], seed: 2, scale: (9 * s.taps * s.cin) ** -0.5 }, b: { shape: [s.cout], seed: 3 } },
    output: [1, s.cout, s.frames, s.height, s.width],
  };
}

export function adaLnCase(s: AdaLnSizes, target?: Target): BenchCase<"adaln", AdaLnSizes> {
  return {
    name: `AdaLN ${s.rows}×${s.width}`,
    level: "op",
    kind: "adaln",
    sizes: s,
    tolerance: 1e-5,
    ...(target ? { target } : {}),
    inputs: {
      x: { shape: [s.rows, s.width], seed: 1, offset: 0.3 },
      shift: { shape: [s.width], seed: 4 },
      scale: { shape: [s.width], seed: 5, scale: 0.5 },
    },
    weights: { weight: { shape: [s.width], seed: 2, scale: 0.5, offset: 1 }, bias: { shape: [s.width], seed: 3 } },
    output: [s.rows, s.width],
  };
}

export function groupNormCase(s: GroupNormSizes, target?: Target): BenchCase<"group_norm", GroupNormSizes> {
  return {
    name: `GroupNorm + SiLU ${s.frames}×${s.height}×${s.width}×${s.channels}`,
    level: "op",
    kind: "group_norm",
    sizes: s,
    tolerance: 1e-5,
    ...(target ? { target } : {}),
    inputs: { x: { shape: [1, s.channels, s.frames, s.height, s.width], seed: 1, offset: 0.3 } },
    weights: { weight: { shape: [s.channels], seed: 2, scale: 0.5, offset: 1 }, bias: { shape: [s.channels], seed: 3 } },
    output: [1, s.channels, s.frames, s.height, s.width],
  };
}

export const figureOps: readonly FigureCase[] = [
  matmulCase(
    { m: 1024, k: 1920, n: 1920 },
    { ratio: 2.5, stretch: 3, ceiling: "multiply-add", share: { lavapipe: 0.55, stretch: 0.65, swiftshader: 0.5 } },
  ),
  attentionCase(
    { heads: 30, length: 1024, width: 64 },
    { ratio: 1.15, stretch: 1.3, ceiling: "multiply-add", share: { lavapipe: 0.65, stretch: 0.75, swiftshader: 0.5 } },
  ),
  attentionGradientCase({ heads: 6, length: 1024, width: 64 }),
  convCase(
    { cin: 128, cout: 128, taps: 3, frames: 4, height: 32, width: 32 },
    { ratio: 8, ceiling: "multiply-add", share: { lavapipe: 0.5, swiftshader: 0.4 } },
  ),
  convCase(
    { cin: 128, cout: 128, taps: 1, frames: 1, height: 64, width: 64 },
    { ratio: 2.5, ceiling: "multiply-add", share: { lavapipe: 0.5, swiftshader: 0.4 } },
  ),
  adaLnCase({ rows: 2048, width: 1920 }, { ratio: 5, ceiling: "copy", share: { lavapipe: 0.5 } }),
  groupNormCase({ frames: 4, height: 64, width: 64, channels: 128, groups: 32 }, { ratio: 3, ceiling: "copy", share: { lavapipe: 0.4 } }),
];
