/** What `npm run bench:isa` compiles: the heavy ops at the shapes that published models have, then all else that a GPU may be given. */
import type { Capabilities } from "../../src/gpu/capabilities.ts";
import type { PlanStep } from "../../src/plan/compile.ts";
import type { DType } from "../../src/graph/dtype.ts";
import { Graph } from "../../src/graph/graph.ts";
import type { Tensor } from "../../src/graph/tensor.ts";
import { attention, batchSegments } from "../../src/ops/attention.ts";
import { attentionGradient } from "../../src/ops/attention_gradient.ts";
import { conv3d } from "../../src/ops/conv3d.ts";
import { conv3dGradientW } from "../../src/ops/conv3d_gradient_w.ts";
import { conv3dGradientX } from "../../src/ops/conv3d_gradient_x.ts";
import { matmul } from "../../src/ops/matmul.ts";
import { matmulNn } from "../../src/ops/matmul_nn.ts";
import { matmulTn } from "../../src/ops/matmul_tn.ts";
import { allCases } from "#sweep-cases";
import { planCase } from "../../src/check/sweep/run-case.ts";
import { PRECISIONS } from "../../src/check/sweep/matrix.ts";

export interface IsaCase {
  readonly name: string;
  readonly graph: Graph;
}

/**
 * How often the inner loops run in one round of the main loop: matmul and conv3d step through BK in fours, matmul_tn through tokens,
 * attention through D in vectors for its scores and through the keys of a thread row for its sums.
 */
export const innerTrips: Readonly<Record<string, readonly number[]>> = {
  matmul_tiled: [4],
  matmul_tn_tiled: [4],
  conv3d_gradient_w_tiled: [4],
  conv3d_tiled: [4],
  attention_flash: [16, 8],
  attention_dq_flash: [16, 16, 8],
  attention_dkv_flash: [16, 16, 8, 8],
};

export function isaCases(): IsaCase[] {
  const cases: IsaCase[] = [];
  const add = (name: string, dtype: DType, build: (graph: Graph) => Record<string, Tensor>): void => {
    const graph = new Graph(name, (weight) => (weight === "b" ? "f32" : dtype));
    for (const [output, tensor] of Object.entries(build(graph))) graph.output(output, tensor);
    cases.push({ name: `${name} ${dtype}`, graph });
  };
  for (const dtype of ["f32", "f16"] as const) {
    add("matmul", dtype, (g) => ({
      y: matmul(g.input("x", [1024, 1920], dtype), g.weight("w", [1920, 1920]), { bias: g.weight("b", [1920]), dtype }),
    }));
    add("matmul_nn", dtype, (g) => ({ y: matmulNn(g.input("x", [1024, 1920], dtype), g.weight("w", [1920, 1920]), dtype) }));
    add("matmul_tn", dtype, (g) => ({ y: matmulTn(g.input("a", [1024, 1920], dtype), g.input("b", [1024, 1920], dtype)) }));
    add("conv3d", dtype, (g) => ({
      y: conv3d(g.input("x", [1, 12, 32, 32, 128], dtype), g.weight("w", [128, 128, 3, 3, 3]), { bias: g.weight("b", [128]) }),
    }));
    const conv = { stride: [1, 1, 1], dilation: 1, pad: [1, 1, 1, 1], replicate: false, padFrames: [2, 0], zeroFrames: false } as const;
    const attrs = { ...conv, upsample: null, keepFirst: true, activation: null, dtype: "f32" } as const;
    const [x, w] = [
      [1, 12, 32, 32, 128],
      [128, 128, 3, 3, 3],
    ] as const;
    add("conv3d_gradient_x", dtype, (g) => ({
      dx: conv3dGradientX(g.input("dy", x, dtype), g.weight("w", w), { conv: attrs, shape: x, front: "repeat", of: "x", dtype }),
    }));
    add("conv3d_gradient_w", dtype, (g) => ({
      dw: conv3dGradientW({ x: g.input("x", x, dtype), dy: g.input("dy", x, dtype), cache: undefined }, { conv: attrs, shape: w }),
    }));
    add("attention", dtype, (g) => {
      const qkv = ["q", "k", "v"].map((name) => g.input(name, [30, 1024, 64], dtype));
      return { y: attention(qkv[0]!, qkv[1]!, qkv[2]!, { dtype }) };
    });
    add("attention_gradient", dtype, (g) => {
      const [q, k, v] = ["q", "k", "v"].map((name) => g.input(name, [30, 1024, 64], dtype)) as [Tensor, Tensor, Tensor];
      const [y, dy, lse] = [g.input("y", [1024, 1920], dtype), g.input("dy", [1024, 1920], dtype), g.input("lse", [30, 1024])];
      const {
        q: dq,
        k: dk,
        v: dv,
      } = attentionGradient({ q, k, v, y, dy, lse }, { scale: 0.125, segments: batchSegments(1, 1024), want: new Set(["q", "k", "v"]) });
      return { dq: dq!, dk: dk!, dv: dv! };
    });
  }
  return cases;
}

/**
 * The kernels for GPUs in every case of the ops' own lists: those that are checked for being right. They hold all that the published
 * models take, which test/sweep asserts.
 */
export function* listedSteps(caps: Capabilities, sizes: readonly string[]): Generator<{ name: string; step: PlanStep }> {
  for (const list of allCases)
    for (const choice of list.kernels) {
      if (choice.when.kind !== "hardware" || choice.needs?.(caps) !== undefined) continue;
      for (const c of list.cases)
        for (const precision of PRECISIONS) {
          if (!sizes.includes(c.size)) continue;
          if ((precision === "f16" && c.half?.length === 0) || (choice.takes && !choice.takes(c, caps, precision))) continue;
          for (const step of planCase(list, c, choice, precision, caps).plan.steps)
            yield { name: `${list.op} ${c.name}, ${precision}`, step };
        }
    }
}
