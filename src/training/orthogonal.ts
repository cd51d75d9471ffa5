/**
 * The nearest semi-orthogonal matrix, by Newton and Schulz's iteration with Muon's quintic: five rounds of X ← aX + (bG + cG²)X with
 * G = XXᵀ, from a matrix of norm 1. Singular values come to between 0.7 and 1.2, which serves as well as 1. On the engine's own matmul, in
 * f32. After K. Jordan et al. 2024, Muon.
 */
import type { Tensor } from "../graph/tensor.ts";
import { combine } from "../ops/combine.ts";
import { matmul } from "../ops/matmul.ts";
import { cutColumns, padColumns } from "../ops/pad_columns.ts";
import { scaleByTrace } from "../ops/scale_by_trace.ts";
import { transpose } from "../ops/transpose.ts";

const [A, B, C] = [3.4445, -4.775, 2.0315];
const ROUNDS = 5;

/** x f32 [R, C] → [R, C]. */
export function orthogonal(x: Tensor): Tensor {
  // The smaller side is the one of G.
  return x.dim(0) > x.dim(1) ? transpose(wide(transpose(x))) : wide(x);
}

function wide(x: Tensor): Tensor {
  // Products take whole vectors of four. Columns of zeros change nothing, and stay zeros.
  return cutColumns(iterated(padColumns(x)), x.dim(1));
}

function iterated(direction: Tensor): Tensor {
  const product = matmul(direction, direction);
  let x = scaleByTrace(direction, product);
  let gram = scaleByTrace(product, product, { squared: true });
  for (let round = 0; round < ROUNDS; round++) {
    if (round > 0) gram = matmul(x, x);
    const polynomial = combine(gram, matmul(gram, gram), { alpha: B, beta: C });
    x = combine(x, matmul(polynomial, transpose(x)), { alpha: A, beta: 1 });
  }
  return x;
}
