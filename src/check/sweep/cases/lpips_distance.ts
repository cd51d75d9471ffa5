/** lpips_distance: channels fewer and more than lanes, padded ones, several chunks a picture, features of zeros, windows. */
import { lpipsDistance as kernel } from "#kernels";
import { padTo } from "../../../graph/packing.ts";
import { lpipsDistance } from "../../../ops/lpips_distance.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import type { Draw, Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";
import type { Five } from "./max_pool2d.ts";

const EPS = 1e-10;

/** 1 / (norm + ε) of a row of channels. */
export const inverseNorm = (row: ArrayLike<number>): number =>
  1 / (Math.sqrt(Array.from(row, (v) => v * v).reduce((s, v) => s + v, 0)) + EPS);

/** Of pictures without padded channels. */
export function lpipsDistanceReference([B, T, H, W, C]: Five, { a, b, w, before }: Values) {
  const [pictures, positions] = [B * T, H * W];
  const y = new Float64Array(pictures);
  const inverse = new Float64Array(pictures * positions * 2);
  for (let p = 0; p < pictures * positions; p++) {
    const [u, v] = [a!, b!].map((features) => features.subarray(p * C, (p + 1) * C)) as [Float32Array, Float32Array];
    const [iu, iv] = [inverseNorm(u), inverseNorm(v)];
    inverse.set([iu, iv], 2 * p);
    for (let c = 0; c < C; c++) y[Math.floor(p / positions)]! += (w![c]! * (u[c]! * iu - v[c]! * iv) ** 2) / positions;
  }
  return { y: y.map((v, n) => v + (before?.[n] ?? 0)), inverse };
}

/** Features of both pictures and a head, as an op of the family takes them. */
export function drawFeatures(draw: Draw, shape: Five, data?: ArrayLike<number>) {
  return {
    a: draw.video("a", shape, data ? { data } : { offset: 0.2 }),
    b: draw.video("b", shape, { offset: 0.1 }),
    w: draw.vector("w", [1, shape[4], 1, 1], { offset: 1 }),
  };
}

/** Features of which every third position has none. */
export const withEmpty = ([B, T, H, W, C]: Five): Float32Array =>
  Float32Array.from({ length: B * T * H * W * C }, (_, i) => (Math.floor(i / C) % 3 ? 0.5 + Math.sin(i) : 0));

function one(size: Size, shape: Five, { before, ...more }: Partial<OpCase> & { before?: boolean } = {}): OpCase {
  const pictures = shape[0] * shape[1];
  return {
    size,
    name: `[${shape.join(", ")}]${before ? ", added to another" : ""}${more.limits ? ", in windows" : ""}`,
    half: ["a", "b"],
    record: (draw) => {
      const { a, b, w } = drawFeatures(draw, shape);
      return { y: lpipsDistance(a, b, w, before ? draw.input32("before", [pictures]) : undefined) };
    },
    reference: (values) => ({ y: lpipsDistanceReference(shape, values).y }),
    ...more,
  };
}

export const lpipsDistanceCases: OpCases = {
  op: "lpips_distance",
  kernels: oneKernel(kernel),
  tolerance: { f32: 2e-6, f16: 2e-6 },
  cases: [
    one("tiny", [1, 1, 1, 1, 4]),
    one("odd", [1, 2, 3, 5, 6], { before: true }),
    one("odd", [2, 1, 7, 9, 20]),
    one("odd", [1, 1, 5, 3, 84]),
    one("odd", [1, 3, 19, 17, 8], { before: true }),
    one("odd", [2, 2, 32, 23, 16], { limits: { maxBindingBytes: 32768, maxGrid: 30 } }),
    one("model", [1, 4, 16, 16, 512]),
  ],
};

/** A row of features padded as the engine has it, from one without. */
export function padRows(data: Float64Array, channels: number): Float64Array {
  const padded = padTo(channels, 4);
  const out = new Float64Array((data.length / channels) * padded);
  for (let i = 0; i < data.length; i++) out[Math.floor(i / channels) * padded + (i % channels)] = data[i]!;
  return out;
}
