/**
 * Gradients beside the products and convolutions that they are of: of matmul at widths of CogVideoX-2B and the tokens of a small clip, of
 * conv3d at widths of the VAE.
 */
import type { BenchCase } from "./case.ts";
import { convCase, type ConvSizes, matmulCase, type MatmulSizes } from "./figures.ts";

export type TrainingCase =
  | BenchCase<"matmul" | "matmul_nn" | "matmul_tn", MatmulSizes>
  | BenchCase<"conv3d" | "conv3d_gradient_x" | "conv3d_gradient_w", ConvSizes>;

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

/** dX of a convolution, causal in time where it has taps there, with respect to an x whose first frame is repeated before it. */
function convDxCase(s: ConvSizes): TrainingCase {
  const { name, weights, output } = convCase(s);
  return {
    name: `${name}, dX`,
    level: "op",
    kind: "conv3d_gradient_x",
    sizes: s,
    tolerance: 1e-5,
    inputs: { dy: { shape: output, seed: 1 } },
    weights: { w: { ...weights["w"]!, scale: (9 * s.taps * s.cout) ** -0.5 } },
    output: [1, s.cin, s.frames, s.height, s.width],
  };
}

/** Its dW. */
function convDwCase(s: ConvSizes): TrainingCase {
  const { name, inputs, weights, output } = convCase(s);
  const scale = (s.frames * s.height * s.width) ** -0.5;
  return {
    name: `${name}, dW`,
    level: "op",
    kind: "conv3d_gradient_w",
    sizes: s,
    tolerance: 1e-5,
    inputs: { x: inputs["x"]!, dy: { shape: output, seed: 2, scale } },
    weights: {},
    output: weights["w"]!.shape,
  };
}

/** Of the decoder's last levels, less wide a picture. */
const convSizes: readonly ConvSizes[] = [
  { cin: 128, cout: 128, taps: 3, frames: 8, height: 32, width: 32 },
  { cin: 256, cout: 256, taps: 3, frames: 4, height: 32, width: 32 },
  { cin: 256, cout: 128, taps: 1, frames: 4, height: 32, width: 32 },
];
export const trainingOps: readonly TrainingCase[] = [
  ...sizes.flatMap((s) => [matmulCase(s), dxCase(s), dwCase(s)]),
  ...convSizes.flatMap((s) => [convCase(s), convDxCase(s), convDwCase(s)]),
];
