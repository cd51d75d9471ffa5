/** What an op says it reaches is all that it reads: a part computed from those parts alone is the part of the whole. */
import { expect, test } from "vitest";
import { Graph } from "../../src/graph/graph.ts";
import type { Region } from "../../src/graph/region.ts";
import { rewrite } from "../../src/graph/rewrite.ts";
import type { Tensor } from "../../src/graph/tensor.ts";
import { causalCache } from "../../src/ops/causal_cache.ts";
import { channelsFirst, channelsLast } from "../../src/ops/channels.ts";
import { conv3d } from "../../src/ops/conv3d.ts";
import { groupNormApply } from "../../src/ops/group_norm_apply.ts";
import { pixels } from "../../src/ops/pixels.ts";
import { temporalPool } from "../../src/ops/temporal_pool.ts";
import { runGraph } from "../../src/run/run-graph.ts";
import { expectClose, values } from "../support/compare.ts";
import { testGpu } from "../support/gpu.ts";

/** Rows are on axis 2 of [B, T, H, W, C] and on axis 3 of [B, C, T, H, W]. */
interface Case {
  readonly name: string;
  readonly rows?: { readonly input?: number; readonly output?: number };
  readonly record: (graph: Graph) => Tensor;
}
const x = (graph: Graph, shape = [2, 3, 8, 12, 4]) => graph.input("x", shape);
const kernel = (graph: Graph, shape: number[]) =>
  graph.constant(
    "w",
    values(
      shape.reduce((a, b) => a * b),
      5,
    ),
    shape,
  );
const cases: Case[] = [
  { name: "conv3d 3×3×3", record: (g) => conv3d(x(g), kernel(g, [4, 4, 3, 3, 3])) },
  { name: "conv3d 5×3 of two strides", record: (g) => conv3d(x(g), kernel(g, [8, 4, 5, 3]), { stride: [1, 2, 2] }) },
  {
    name: "conv3d, padded right and below",
    record: (g) => conv3d(x(g), kernel(g, [4, 4, 3, 3]), { stride: [1, 2, 2], pad: [0, 1, 0, 1] }),
  },
  { name: "conv3d on doubled rows and columns", record: (g) => conv3d(x(g), kernel(g, [4, 4, 3, 3]), { upsample: "space" }) },
  {
    name: "conv3d on a cache, with a residual",
    record: (g) =>
      conv3d(x(g), kernel(g, [4, 4, 3, 3, 3]), {
        cache: g.input("cache", [2, 2, 8, 12, 4]),
        residual: g.input("residual", [2, 3, 8, 12, 4]),
      }),
  },
  { name: "causal_cache", record: (g) => causalCache(x(g), 2, g.input("cache", [2, 2, 8, 12, 4])) },
  { name: "temporal_pool", record: (g) => temporalPool(x(g)) },
  { name: "channels_last", rows: { input: 3 }, record: (g) => channelsLast(x(g, [2, 5, 3, 8, 12])) },
  { name: "channels_first", rows: { output: 3 }, record: (g) => channelsFirst(x(g), 3) },
  { name: "pixels", record: (g) => pixels(x(g), { format: "frames" }) },
  ...[false, true].map(
    (spatial): Case => ({
      name: `group_norm_apply${spatial ? ", spatial" : ""}`,
      record: (g) => {
        const [norm, weight, bias] = [
          g.constant("norm", values(16, 6), [2, 2, 4]),
          g.constant("weight", values(4, 7)),
          g.constant("bias", values(4, 8)),
        ];
        const z = (name: string) => g.input(name, [2, 2, 4, 3, 4]);
        return groupNormApply(x(g), norm, weight, bias, spatial ? { spatial: { scale: z("scale"), shift: z("shift") } } : {});
      },
    }),
  ),
];

/** The part of a tensor with rows on `axis`. */
function crop(data: ArrayLike<number>, shape: readonly number[], axis: number, { top, bottom, left, right }: Region): Float32Array {
  const [height, width] = [shape[axis]!, shape[axis + 1]!];
  const position = shape.slice(axis + 2).reduce((a, b) => a * b, 1);
  const planes = shape.slice(0, axis).reduce((a, b) => a * b, 1);
  const out: number[] = [];
  for (let p = 0; p < planes; p++)
    for (let h = top; h < bottom; h++)
      for (let w = left; w < right; w++) for (let i = 0; i < position; i++) out.push(data[((p * height + h) * width + w) * position + i]!);
  return Float32Array.from(out);
}

test.each(cases)("$name", async ({ rows: { input: inputAxis = 2, output: outputAxis = 2 } = {}, record }) => {
  const gpu = await testGpu();
  const graph = new Graph("whole");
  const y = record(graph);
  graph.output("y", y);
  const node = graph.nodes[0]!;
  const inputs = Object.fromEntries([...graph.inputs].map(([name, { size }], i) => [name, values(size, i + 1)]));
  const whole = (await runGraph(gpu, graph, inputs))["y"]!;
  const [height, width] = [y.shape[outputAxis]!, y.shape[outputAxis + 1]!];
  for (const out of [
    { top: 0, bottom: height, left: 0, right: width },
    { top: 0, bottom: 2, left: 2, right: width },
    { top: 2, bottom: 4, left: 0, right: 4 },
    { top: height - 2, bottom: height, left: width - 4, right: width - 2 },
  ]) {
    const reach = node.op.reach!(node, out);
    const parts: Record<string, Float32Array> = {};
    const part = rewrite(graph, {
      nodes: graph.nodes,
      outputs: [["y", y]],
      bring(tensor, into) {
        const region = reach.inputs[Object.entries(node.inputs).find(([, given]) => given === tensor)![0]]!;
        const size = [region.bottom - region.top, region.right - region.left];
        parts[tensor.name] = crop(inputs[tensor.name]!, tensor.shape, inputAxis, region);
        return into.input(
          tensor.name,
          tensor.shape.map((n, i) => size[i - inputAxis] ?? n),
        );
      },
      replace: (_, given, into) => into.record(node.op, given, reach.attrs),
    }).graph;
    const got = (await runGraph(gpu, part, parts))["y"]!;
    expectClose(got, crop(whole, y.shape, outputAxis, out), 1e-6);
  }
});

test("a halo is what a convolution reaches beyond its part, and no more", () => {
  const graph = new Graph("halo");
  const { inputs } = (() => {
    const node = (conv3d(x(graph), kernel(graph, [4, 4, 3, 3])), graph.nodes[0]!);
    return node.op.reach!(node, { top: 2, bottom: 4, left: 0, right: 3 });
  })();
  expect(inputs["x"]).toEqual({ top: 1, bottom: 5, left: 0, right: 4 });
});
