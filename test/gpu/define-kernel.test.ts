/** Kernels from text at run time: read as the build reads them. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { allKernels } from "#kernels";
import { defineKernel } from "../../src/gpu/define-kernel.ts";
import { Graph } from "../../src/graph/graph.ts";
import type { Op } from "../../src/graph/op.ts";
import type { Tensor } from "../../src/graph/tensor.ts";
import { dispatch } from "../../src/plan/dispatch.ts";
import { runGraph } from "../../src/run/run-graph.ts";
import { testGpu } from "../support/gpu.ts";

const KERNELS = join(import.meta.dirname, "../../kernels");
const files = readdirSync(KERNELS, { recursive: true })
  .map(String)
  .filter((name) => name.endsWith(".wgsl") && !/^shared[\\/]/.test(name));

it("has every kernel of the engine", () => {
  expect(files.map((file) => file.replace(/^.*[\\/]|\.wgsl$/g, "")).sort()).toEqual(allKernels.map(({ name }) => name).sort());
});

it.each(files)("reads %s as the build does", (file) => {
  const name = file.replace(/^.*[\\/]|\.wgsl$/g, "");
  const { source: _code, family: _family, ...want } = allKernels.find((kernel) => kernel.name === name)!;
  const { source: _text, family: _app, ...got } = defineKernel(name, readFileSync(join(KERNELS, file), "utf8"));
  expect(got).toEqual(want);
});

const TEXT = `//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias X = f32;
//! end
struct Params { count: u32, factor: f32 }
@group(0) @binding(1) var<storage, read> x: array<X>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) { if (id.x < params.count) { y[id.x] = f32(x[id.x]) * params.factor; } }
`;

it("runs, beside a kernel of the engine's with the same name", async () => {
  const gpu = await testGpu();
  const scaled = (name: string, text: string): Op<{ x: Tensor }, object, "y"> => ({
    name,
    infer: ({ x }) => ({ y: { shape: x.shape, dtype: "f32" } }),
    cost: ({ inputs: { x } }) => ({ flops: x.size, bytes: 2 * x.bytes }),
    lower: ({ inputs: { x }, outputs: { y } }) => [
      dispatch({
        kernel: defineKernel(name, text),
        params: { count: x.size, factor: 3 },
        bindings: { x, y },
        grid: [Math.ceil(x.size / 64), 1, 1],
      }),
    ],
  });
  for (const [text, factor] of [
    [TEXT, 3],
    [TEXT.replace("* params.factor", "* params.factor * 2.0"), 6],
  ] as const) {
    const graph = new Graph("scaled");
    graph.output("y", graph.record(scaled("silu", text), { x: graph.input("x", [5]) }, {}).y);
    const { y } = await runGraph(gpu, graph, { x: Float32Array.of(1, 2, 3, 4, 5) });
    expect([...y!]).toEqual([1, 2, 3, 4, 5].map((v) => v * factor));
  }
});

it.each([
  ["no block", TEXT.replace("//! end\n", ""), /^\[kernel\] mine: the text must have a `\/\/! specialise … \/\/! end` block/],
  ["no entry point", TEXT.replace("fn main", "fn run"), /one compute entry point, main, got run/],
  [
    "another group",
    TEXT.replace("@group(0) @binding(2)", "@group(1) @binding(2)"),
    /bindings must be in group 0 .* got @group\(1\) @binding\(2\) for y/,
  ],
  [
    "a field of another type",
    TEXT.replace("factor: f32 }", "factor: vec2<f32> }"),
    /fields of params must be u32, i32 or f32, got factor: vec2<f32>/,
  ],
  [
    "params outside of the block",
    TEXT.replace(/(@group\(0\) @binding\(0\).*\n)([\s\S]*?\/\/! end\n)/, "$2$1"),
    /params must be declared inside the block/,
  ],
])("refuses %s", (_name, text, rule) => {
  expect(() => defineKernel("mine", text)).toThrow(rule);
});
