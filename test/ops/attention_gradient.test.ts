import { describe, expect, test } from "vitest";
import { attentionGradientReference, type AttentionGradientSizes } from "../../src/check/sweep/cases/attention_gradient.ts";
import { differentiate } from "../../src/gradient/differentiate.ts";
import { watch } from "../../src/gradient/watch.ts";
import type { Graph } from "../../src/graph/graph.ts";
import { attention, batchSegments } from "../../src/ops/attention.ts";
import { expectClose, values } from "../support/compare.ts";
import { limitedGpu, runGraph } from "../support/gpu.ts";

/** Records attention of watched operands and its gradients. */
function record(graph: Graph, { heads, rows, d, keys = rows, segments, scale }: AttentionGradientSizes) {
  const operands = (["q", "k", "v"] as const).map((name) => watch(graph.input(name, [heads, name === "q" ? rows : keys, d])));
  const [q, k, v] = operands;
  const y = attention(q!, k!, v!, { ...(segments ? { segments } : {}), ...(scale === undefined ? {} : { scale }) });
  const [dq, dk, dv] = differentiate([{ of: y, gradient: graph.input("dy", [rows, heads * d]) }], operands);
  return { dq: dq!, dk: dk!, dv: dv! };
}

function drawn({ heads, rows, d, keys = rows }: AttentionGradientSizes, spread = 2) {
  return {
    q: values(heads * rows * d, 1, spread),
    k: values(heads * keys * d, 2, spread),
    v: values(heads * keys * d, 3),
    dy: values(heads * rows * d, 4),
  };
}

function expectGradients(out: Record<string, Float32Array>, sizes: AttentionGradientSizes, inputs: ReturnType<typeof drawn>): void {
  const want = attentionGradientReference(sizes, inputs);
  for (const name of ["dq", "dk", "dv"] as const)
    expectClose(out[name]!, want[name], 1e-5, [sizes.heads, name === "dq" ? sizes.rows : (sizes.keys ?? sizes.rows), sizes.d]);
}

/** One width: some adapters take a minute to compile these kernels for another. The op's list has the others. */
const kinds = ["software", "hardware"] as const;

describe.each(kinds)("attention_gradient, %s kernels", { timeout: 300_000 }, (kind) => {
  test.each([
    { heads: 2, rows: 38, d: 32, segments: batchSegments(2, 19) },
    { heads: 3, rows: 44, keys: 57, d: 32 },
  ])("$heads heads × $rows × $d", async (sizes) => {
    await using gpu = await limitedGpu({ kind, maxWorkgroupBytes: 16384 });
    const inputs = drawn(sizes);
    expectGradients(await runGraph((g) => record(g, sizes), { gpu, inputs }), sizes, inputs);
  });

  test("segments of different lengths, in any order, that share keys and leave some out, narrow bindings and grids", async () => {
    await using gpu = await limitedGpu({ kind, maxWorkgroupBytes: 16384, maxBindingBytes: 32768, maxGrid: 5 });
    const segments = [
      { first: 5, count: 62, keyFirst: 33, keyCount: 16 },
      { first: 0, count: 5, keyFirst: 0, keyCount: 40 },
      { first: 69, count: 1, keyFirst: 7, keyCount: 1 },
    ];
    const sizes = { heads: 4, rows: 70, keys: 50, d: 32, segments, scale: 0.3 };
    const inputs = drawn(sizes);
    const out = await runGraph((g) => record(g, sizes), { gpu, inputs });
    expectGradients(out, sizes, inputs);
    // Query 67 is in no segment, and key 49 is read by none.
    expect([...out["dq"]!.subarray(67 * 32, 69 * 32), ...out["dk"]!.subarray(49 * 32, 50 * 32)].every((x) => x === 0)).toBe(true);
    expect(await runGraph((g) => record(g, sizes), { gpu, inputs })).toEqual(out);
  });
});
