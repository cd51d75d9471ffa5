/** adamw: first and later steps, gradients that are clipped, a step that is not taken, parameters in their place, windows. */
import { adamw as kernel } from "#kernels";
import { adamw } from "../../../ops/adamw.ts";
import { UPDATE, UPDATE_VALUES } from "../../../ops/gradient_norm.ts";
import { silu } from "../../../ops/silu.ts";
import { silu as siluOf } from "../activations.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import type { Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";

export interface Hyper {
  lr: number;
  beta1: number;
  beta2: number;
  eps: number;
  decay: number;
  /** From 1. */
  step: number;
}
export const usual: Hyper = { lr: 0.01, beta1: 0.9, beta2: 0.95, eps: 1e-8, decay: 0.1, step: 1 };

/** The values of a control that AdamW reads. */
export function controlOf(h: Hyper, factor: number, taken: boolean): Float32Array {
  const control = new Float32Array(UPDATE_VALUES);
  control[UPDATE.factor] = factor;
  control[UPDATE.taken] = +taken;
  control[UPDATE.keep] = 1 - h.lr * h.decay;
  control[UPDATE.firstRate] = 1 - h.beta1;
  control[UPDATE.secondKeep] = h.beta2;
  control[UPDATE.secondRate] = 1 - h.beta2;
  control[UPDATE.root] = 1 / Math.sqrt(1 - h.beta2 ** h.step);
  control[UPDATE.eps] = h.eps;
  control[UPDATE.step] = -h.lr / (1 - h.beta1 ** h.step);
  return control;
}

/** torch's AdamW, as its documentation writes it. */
export function adamwReference(
  h: Hyper,
  factor: number,
  { p, m, v, g }: Record<"p" | "m" | "v" | "g", ArrayLike<number>>,
): Record<"p" | "m" | "v", Float64Array> {
  const first = Float64Array.from(m, (x, i) => h.beta1 * x + (1 - h.beta1) * factor * g[i]!);
  const second = Float64Array.from(v, (x, i) => h.beta2 * x + (1 - h.beta2) * (factor * g[i]!) ** 2);
  return {
    m: first,
    v: second,
    p: Float64Array.from(p, (x, i) => {
      const [mean, square] = [first[i]! / (1 - h.beta1 ** h.step), second[i]! / (1 - h.beta2 ** h.step)];
      return x - h.lr * h.decay * x - (h.lr * mean) / (Math.sqrt(square) + h.eps);
    }),
  };
}

function one(
  size: Size,
  shape: readonly number[],
  h: Hyper,
  { factor = 1, taken = true, limits }: { factor?: number; taken?: boolean; limits?: OpCase["limits"] } = {},
): OpCase {
  const started = h.step > 1;
  return {
    size,
    name:
      `[${shape.join(", ")}] step ${h.step}${factor === 1 ? "" : `, by ${factor}`}` +
      `${taken ? "" : ", not taken"}${limits ? ", in windows" : ""}`,
    half: [],
    ...(limits ? { limits } : {}),
    record: (draw) =>
      adamw({
        p: draw.input("p", shape),
        m: draw.input("m", shape, { scale: started ? 0.1 : 0 }),
        v: draw.input("v", shape, started ? { scale: 0.01, offset: 0.02 } : { scale: 0 }),
        g: draw.input("g", shape, taken ? {} : { data: new Float32Array(shape.reduce((a, b) => a * b)).fill(Number.NaN) }),
        control: draw.input("control", [UPDATE_VALUES], { data: controlOf(h, factor, taken) }),
      }),
    reference: ({ p, m, v, g }: Values) => (taken ? adamwReference(h, factor, { p: p!, m: m!, v: v!, g: g! }) : { p: p!, m: m!, v: v! }),
  };
}

export const adamwCases: OpCases = {
  op: "adamw",
  kernels: oneKernel(kernel),
  // The bias corrections multiply the roundings of 1 − β.
  tolerance: { f32: 1e-6, f16: 1e-6 },
  cases: [
    one("tiny", [4], usual),
    one("odd", [67, 12], { ...usual, step: 7 }, { factor: 0.03 }),
    one("odd", [67, 13], { ...usual, beta2: 0.999, decay: 0, step: 1000 }),
    one("odd", [13, 5], { ...usual, step: 3 }, { taken: false }),
    one("odd", [201, 101], { ...usual, step: 2 }, { limits: { maxBindingBytes: 16384, maxGrid: 7 } }),
    {
      size: "odd",
      name: "[13, 5] in their place",
      half: [],
      record: (draw) =>
        adamw({
          p: silu(draw.input("p", [13, 5])),
          m: silu(draw.input("m", [13, 5])),
          v: silu(draw.input("v", [13, 5], { offset: 1, scale: 0.5 })),
          g: draw.input("g", [13, 5]),
          control: draw.input("control", [UPDATE_VALUES], { data: controlOf({ ...usual, step: 4 }, 0.5, true) }),
        }),
      reference: ({ p, m, v, g }: Values) =>
        adamwReference({ ...usual, step: 4 }, 0.5, {
          p: Float64Array.from(p!, siluOf),
          m: Float64Array.from(m!, siluOf),
          v: Float64Array.from(v!, siluOf),
          g: g!,
        }),
    },
    one("model", [1920, 1920], { ...usual, step: 5 }),
  ],
};
