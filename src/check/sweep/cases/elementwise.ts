/** gated_gelu, silu, pad_columns and scheduler_step. */
import { gatedGelu as geluKernel, padColumns as padKernel, schedulerStep as stepKernel, silu as siluKernel } from "#kernels";
import type { Kernel } from "../../../gpu/kernel.ts";
import { gatedGelu } from "../../../ops/gated_gelu.ts";
import { padColumns } from "../../../ops/pad_columns.ts";
import { schedulerStep } from "../../../ops/scheduler_step.ts";
import { silu } from "../../../ops/silu.ts";
import { oneKernel, type OpCase, type OpCases, type Size, type Values } from "../case.ts";

// ---------------------------------------------------------------- gated_gelu

export interface GatedGeluSizes {
  readonly rows: number;
  readonly f: number;
  readonly scale?: number;
}

const gelu = (v: number): number => 0.5 * v * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (v + 0.044715 * v ** 3)));

export function gatedGeluReference({ rows, f }: GatedGeluSizes, { x }: Values): Float64Array {
  return Float64Array.from({ length: rows * f }, (_, i) => {
    const at = Math.floor(i / f) * 2 * f + (i % f);
    return gelu(x![at]!) * x![at + f]!;
  });
}

function gated(size: Size, sizes: GatedGeluSizes, half = "xy", limits?: OpCase["limits"]): OpCase {
  const { rows, f, scale = 4 } = sizes;
  return {
    size,
    name: `${rows} × ${f}${scale > 4 ? `, values of ${scale}` : ""}${limits ? ", in windows" : ""} (${half})`,
    half: [...half],
    ...(limits ? { limits } : {}),
    record: (draw) => ({ y: gatedGelu(draw.input("x", [rows, 2 * f], { scale }), { dtype: draw.type("y") }) }),
    reference: (values) => ({ y: gatedGeluReference(sizes, values) }),
  };
}

export const gatedGeluCases: OpCases = {
  op: "gated_gelu",
  kernels: oneKernel(geluKernel as Kernel),
  tolerance: { f32: 1e-6, f16: 1e-3 },
  cases: [
    gated("tiny", { rows: 1, f: 4 }),
    gated("odd", { rows: 29, f: 36 }),
    gated("odd", { rows: 67, f: 132 }, "x"),
    gated("odd", { rows: 5, f: 36, scale: 1e5 }, ""),
    gated("odd", { rows: 5, f: 36, scale: 1e15 }, ""),
    gated("odd", { rows: 150, f: 64 }, "xy", { maxBindingBytes: 16384, maxGrid: 9 }),
    gated("model", { rows: 67, f: 10240 }, ""),
  ],
};

// ---------------------------------------------------------------- silu

function siluOf(size: Size, count: number, scale = 4): OpCase {
  return {
    size,
    name: `${count} values of ${scale}`,
    half: [],
    record: (draw) => ({ y: silu(draw.input32("x", [count], { scale })) }),
    reference: ({ x }) => ({ y: Float64Array.from(x!, (v) => v / (1 + Math.exp(-v))) }),
  };
}

export const siluCases: OpCases = {
  op: "silu",
  kernels: oneKernel(siluKernel as Kernel),
  tolerance: { f32: 1e-6, f16: 1e-6 },
  cases: [siluOf("tiny", 4), siluOf("odd", 68), siluOf("odd", 516, 1e5), siluOf("odd", 516, 1e30), siluOf("model", 1024)],
};

// ---------------------------------------------------------------- pad_columns

function padded(size: Size, rows: number, columns: number): OpCase {
  const to = Math.ceil(columns / 4) * 4;
  return {
    size,
    name: `${rows} × ${columns}`,
    record: (draw) => ({ y: padColumns(draw.input("x", [rows, columns])) }),
    reference: ({ x }) => ({
      y: Float64Array.from({ length: rows * to }, (_, i) => (i % to < columns ? x![Math.floor(i / to) * columns + (i % to)]! : 0)),
    }),
  };
}

export const padColumnsCases: OpCases = {
  op: "pad_columns",
  kernels: oneKernel(padKernel as Kernel),
  tolerance: { f32: 0, f16: 0 },
  cases: [padded("tiny", 1, 1), padded("odd", 2, 3), padded("odd", 67, 29), padded("model", 226, 1917)],
};

// ---------------------------------------------------------------- scheduler_step

export interface StepSizes {
  readonly shape: readonly number[];
  readonly guided: boolean;
  readonly dpm: boolean;
}

const COEFFICIENTS = [6, 0.8, -0.6, 0.3, 0.7, -0.2, 0.4, 0];

/** original = p·x + q·(guided prediction); next = a·x + b·original + c·old + d·noise. */
export function schedulerStepReference(
  { guided }: StepSizes,
  { sample: x, prediction: v, old, noise }: Values,
): { next: Float64Array; original: Float64Array } {
  const [g, p, q, a, b, c, d] = COEFFICIENTS.map(Math.fround) as [number, number, number, number, number, number, number];
  const n = x!.length;
  const original = Float64Array.from(x!, (xi, i) => p * xi + q * (guided ? v![i]! + g * (v![n + i]! - v![i]!) : v![i]!));
  return { original, next: original.map((x0, i) => a * x![i]! + b * x0 + (old ? c * old[i]! : 0) + (noise ? d * noise[i]! : 0)) };
}

function step(size: Size, sizes: StepSizes, limits?: OpCase["limits"]): OpCase {
  const { shape, guided, dpm } = sizes;
  return {
    size,
    name: `[${shape.join(", ")}]${guided ? ", guided" : ""}${dpm ? ", DPM" : ""}${limits ? ", in windows" : ""}`,
    half: ["prediction"],
    ...(limits ? { limits } : {}),
    record(draw) {
      const out = schedulerStep({
        sample: draw.input32("sample", shape),
        prediction: draw.input("prediction", [(guided ? 2 : 1) * shape[0]!, ...shape.slice(1)]),
        coefficients: draw.input32("coefficients", [8], { data: COEFFICIENTS }),
        ...(dpm ? { oldSample: draw.input32("old", shape), noise: draw.input32("noise", shape) } : {}),
      });
      return { next: out.sample, original: out.original };
    },
    reference: (values) => ({ ...schedulerStepReference(sizes, values) }),
  };
}

export const schedulerStepCases: OpCases = {
  op: "scheduler_step",
  kernels: oneKernel(stepKernel as Kernel),
  tolerance: { f32: 1e-6, f16: 1e-6 },
  cases: [
    step("tiny", { shape: [1], guided: false, dpm: false }),
    step("tiny", { shape: [1], guided: true, dpm: true }),
    ...[
      [1, 2, 1, 3, 5],
      [67, 3],
    ].flatMap((shape) => [false, true].flatMap((guided) => [false, true].map((dpm) => step("odd", { shape, guided, dpm })))),
    ...[6400, 2560].map((n) => step("odd", { shape: [1, n], guided: true, dpm: true }, { maxBindingBytes: 12 * 1024, maxGrid: 7 })),
    step("model", { shape: [1, 13, 16, 30, 45], guided: true, dpm: false }),
    step("model", { shape: [1, 13, 16, 30, 45], guided: true, dpm: true }),
    step("model", { shape: [1, 13, 16, 30, 45], guided: false, dpm: false }),
  ],
};
