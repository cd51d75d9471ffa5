/** Where results lie is the plan's choice: in an input's memory where nobody reads that afterwards, and right either way. */
import { describe, expect, test } from "vitest";
import type { CapabilityOverrides } from "../../src/gpu/capabilities.ts";
import { Graph } from "../../src/graph/graph.ts";
import type { Tensor } from "../../src/graph/tensor.ts";
import { compile } from "../../src/plan/compile.ts";
import { matmul } from "../../src/ops/matmul.ts";
import { qkNormRope } from "../../src/ops/qk_norm_rope.ts";
import { rmsNorm } from "../../src/ops/rms_norm.ts";
import { silu } from "../../src/ops/silu.ts";
import { values } from "../support/compare.ts";
import { limitedGpu, runGraph, testGpu } from "../support/gpu.ts";

const [ROWS, WIDTH, HEAD] = [128, 48, 16];
const weights = {
  w: { data: values(WIDTH * WIDTH, 1, 0.2), shape: [WIDTH, WIDTH] },
  v: { data: values(WIDTH * WIDTH, 2, 0.2), shape: [WIDTH, WIDTH] },
  wide: { data: values(WIDTH, 6), shape: [WIDTH] },
  narrow: { data: values(HEAD, 7), shape: [HEAD] },
  norm: { data: values(2 * HEAD, 3).map((v) => 1 + v / 4), shape: [2, HEAD] },
};
const inputs = { x: values(ROWS * WIDTH, 4), t: values(3 * WIDTH, 5) };

/** Two layers that add to a stream, and queries and keys that are normalised. */
function record(graph: Graph) {
  const x = graph.input("x", [ROWS, WIDTH]);
  const [w, v] = ["w", "v"].map((name) => graph.weight(name, [WIDTH, WIDTH])) as [Tensor, Tensor];
  const first = matmul(x, w);
  const second = matmul(x, v, { residual: first });
  const gate = {
    table: graph.input("t", [3, WIDTH]),
    rows: graph.constant(
      "rows",
      new Uint32Array(ROWS).map((_, i) => i % 3),
    ),
  };
  const third = matmul(x, w, { residual: second, gate });
  const [q, k] = [w, v].map((weight) => matmul(third, weight, { heads: HEAD })) as [Tensor, Tensor];
  const norm = graph.weight("norm", [2, HEAD]);
  const heads = qkNormRope(q, k, { norm: { q: norm, k: norm, eps: 1e-6 } });
  return { first, second, third, q, k, heads };
}
type Recorded = ReturnType<typeof record>;
const results = ({ third, heads }: Recorded): Record<string, Tensor> => ({ third, q_done: heads.q, k_done: heads.k });

/** Reads of what was taken above, each after the node that would take it, and which results then lie by themselves. */
function readLater(graph: Graph, { first, second, k }: Recorded): Record<string, Tensor> {
  const normed = (name: string, x: Tensor) => rmsNorm(x, graph.weight(name, [x.dim(-1)]));
  return { first, of_second: normed("wide", graph.reshape(second, [2, ROWS / 2, WIDTH])), of_k: normed("narrow", k) };
}

describe.each<[string, CapabilityOverrides]>([
  ["this adapter's kernels", {}],
  ["this adapter's kernels in windows", { maxBindingBytes: 16384, maxGrid: 17, immediates: false }],
  ["kernels for GPUs", { kind: "hardware" }],
])("%s", (_, limits) => {
  test("what is read for the last time is taken, what is read later is kept, and no bit depends on it", async () => {
    await using gpu = await limitedGpu(limits);
    let made!: Recorded;
    let graph!: Graph;
    const run = (build: (g: Graph, r: Recorded) => Record<string, Tensor>) =>
      runGraph((g) => build((graph = g), (made = record(g))), { gpu, inputs, weights });

    const taken = await run((_, r) => results(r));
    let plan = compile(graph, gpu.caps);
    expect([made.second, made.third, made.heads.q, made.heads.k].map(plan.home)).toEqual([made.first, made.first, made.q, made.k]);
    expect(plan.bytes.activations, "all lie in the memory of the outputs").toBe(0);

    // Nothing is taken from an output.
    const apart = await run((g, { first, second, third, q, k, heads }) => {
      const normed = (name: string, x: Tensor) => rmsNorm(x, g.weight(name, [x.dim(-1)]));
      return { first, second, third, q, k, q_done: heads.q, k_done: heads.k, of_second: normed("wide", second), of_k: normed("narrow", k) };
    });
    plan = compile(graph, gpu.caps);
    for (const tensor of [made.second, made.third, made.heads.q, made.heads.k]) expect(plan.home(tensor)).toBe(tensor);

    const kept = await run((g, r) => ({ ...results(r), ...readLater(g, r) }));
    plan = compile(graph, gpu.caps);
    for (const tensor of [made.second, made.third, made.heads.q, made.heads.k]) expect(plan.home(tensor)).toBe(tensor);
    for (const [name, data] of Object.entries({ ...taken, ...kept })) expect(data, name).toEqual(apart[name]);
    for (const [name, data] of Object.entries(taken)) expect(data, name).toEqual(kept[name]);
    expect(new Set(taken["third"]).size).toBeGreaterThan(1000);
  });
});

test("a tensor that a node reads twice is not taken", async () => {
  const { caps } = await testGpu();
  const graph = new Graph("twice");
  const first = silu(graph.input("x", [4, 4]));
  const y = matmul(first, graph.weight("w", [4, 4]), { residual: graph.reshape(first, [4, 4]) });
  graph.output("y", silu(y));
  expect(compile(graph, caps).home(y)).toBe(y);
});

test("inputs, weights and constants, and what is of another type, are not taken", async () => {
  const { caps } = await testGpu();
  const graph = new Graph("others");
  const x = graph.input("x", [4, 4]);
  const w = graph.weight("w", [4, 4]);
  const residuals = [graph.input("r", [4, 4]), graph.weight("rw", [4, 4]), graph.constant("c", new Float32Array(16), [4, 4])];
  const made = [
    ...residuals.map((residual) => matmul(x, w, { residual })),
    matmul(x, w, { residual: silu(x), dtype: "f16" }),
    matmul(x, w, { addend: silu(x), activation: "silu" }),
    matmul(x, w, { residual: silu(x), heads: 4 }),
  ];
  for (const [i, tensor] of made.entries()) graph.output(`y${i}`, matmul(graph.reshape(tensor, [4, 4]), w));
  const { home } = compile(graph, caps);
  for (const tensor of made) expect(home(tensor)).toBe(tensor);
});
