/** Matmul's gradients beside the product that they are of, at widths of CogVideoX-2B and the tokens of a small clip. */
import type { BenchCase } from "./case.ts";
import { matmulCase, type MatmulSizes } from "./figures.ts";

export type TrainingCase = BenchCase<"matmul" | "matmul_nn" | "matmul_tn", MatmulSizes>;

/** dX = dY [m, n] · W [n, k]; sizes are the product's. */
function dxCase(s: MatmulSizes): TrainingCase {
  return {
    name: `matmul_nn ${s.m}×${s.n}×${s.k} f32`,
    level: "op",
    kind: "matmul_nn",
    sizes: s,
    tolerance: 1e-5,
    inputs: { x: { shape: [s.m, s.n], seed: 1 } },
    weights: { w: { shape: [s.n, s.k], seed: 2, scale: s.n ** -0.5 } },
    output: [s.m, s.k],
  };
}

/** dW = dYᵀ · X of dY [m, n] and X [m, k]. */
function dwCase(s: MatmulSizes): TrainingCase {
  return {
    name: `matmul_tn ${s.n}×${s.k} of ${s.m} f32`,
    level: "op",
    kind: "matmul_tn",
    sizes: s,
    tolerance: 1e-5,
    inputs: { a: { shape: [s.m, s.n], seed: 1, scale: s.m ** -0.5 }, b: { shape: [s.m, s.k], seed: 2 } },
    weights: {},
    output: [s.n, s.k],
  };
}

/** q, k, v or the output; the feed-forward layer's two; both factors of an adapter of rank 64. */
const sizes: readonly MatmulSizes[] = [
  { m: 738, k: 1920, n: 1920 },
  { m: 738, k: 1920, n: 7680 },
  { m: 738, k: 7680, n: 1920 },
  { m: 738, k: 1920, n: 64 },
  { m: 738, k: 64, n: 1920 },
];
export const trainingOps: readonly TrainingCase[] = sizes.flatMap((s) => [matmulCase(s), dxCase(s), dwCase(s)]);
