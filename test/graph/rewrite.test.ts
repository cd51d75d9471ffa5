/** A rewritten graph computes what its original does: as a whole, in parts, with nodes replaced, and once more in the same graph. */
import { describe, expect, test } from "vitest";
import type { DType } from "../../src/graph/dtype.ts";
import { Graph } from "../../src/graph/graph.ts";
import type { Node } from "../../src/graph/op.ts";
import { rewrite } from "../../src/graph/rewrite.ts";
import { weightsOf } from "../../src/graph/weights-of.ts";
import type { Capabilities } from "../../src/gpu/capabilities.ts";
import { parseTransformerConfig } from "../../src/models/cogvideox/config.ts";
import { denoiseGraph } from "../../src/models/cogvideox/model.ts";
import { parseT5Config } from "../../src/models/t5/config.ts";
import { t5Graph } from "../../src/models/t5/model.ts";
import { vaeGraphs } from "../../src/models/vae/batches.ts";
import { parseVaeConfig } from "../../src/models/vae/config.ts";
import { silu, siluOp } from "../../src/ops/silu.ts";
import { compile } from "../../src/plan/compile.ts";
import type { Gpu } from "../../src/gpu/gpu.ts";
import { Program } from "../../src/run/program.ts";
import { runGraph } from "../../src/run/run-graph.ts";
import { WeightStore } from "../../src/run/weight-store.ts";
import type { WeightProvider } from "../../src/run/weight-provider.ts";
import { values } from "../support/compare.ts";
import { memoryWeights, testGpu } from "../support/gpu.ts";

const later = { use_rotary_positional_embeddings: true, patch_size_t: 2, patch_bias: false, sample_height: 300, sample_width: 300 };
const transformers = {
  "2B": [{}, 0],
  "5B": [{ num_attention_heads: 48, use_rotary_positional_embeddings: true }, 0],
  "5B-I2V": [
    {
      num_attention_heads: 48,
      in_channels: 32,
      sample_height: 24,
      sample_width: 32,
      sample_frames: 13,
      use_rotary_positional_embeddings: true,
      use_learned_positional_embeddings: true,
    },
    16,
  ],
  "1.5-5B": [{ num_attention_heads: 48, ...later }, 0],
  "1.5-5B-I2V": [{ num_attention_heads: 48, in_channels: 32, ofs_embed_dim: 512, ...later }, 16],
} as const;
const typed = (type: DType) => ({ type: (name: string): DType => (name.endsWith(".weight") && !name.includes("norm") ? type : "f32") });

/** The graphs of every published model, with the widths that are published, few layers and a small picture. */
function published(dtype: "f32" | "f16"): [string, Graph][] {
  const t5 = { d_model: 4096, d_kv: 64, d_ff: 10240, num_layers: 2, num_heads: 64, vocab_size: 32128, feed_forward_proj: "gated-gelu" };
  const video = { batch: 1, height: 16, width: 24, dtype };
  return [
    ["T5-XXL", t5Graph(parseT5Config(t5), typed(dtype), { batch: 2, length: 226, dtype })],
    ...Object.entries(transformers).map(([name, [config, conditionChannels]]): [string, Graph] => {
      const shape = { samples: 1, frames: 4, height: 24, width: 32, textLength: 226, guidance: true, stochastic: name === "2B" };
      const own = { ...shape, ...(conditionChannels ? { conditionChannels } : {}) };
      return [name, denoiseGraph(parseTransformerConfig({ ...config, num_layers: 2 }), typed(dtype), own, dtype)];
    }),
    ...(["decode", "encode"] as const).flatMap((part) =>
      vaeGraphs(parseVaeConfig({}), typed(dtype), { ...video, part, frames: part === "decode" ? 5 : 17, format: "sample" }).graphs.map(
        (graph, i): [string, Graph] => [`VAE, ${part} ${i}`, graph],
      ),
    ),
  ];
}

/** All that a plan decides. */
function decided(graph: Graph, caps: Capabilities) {
  const plan = compile(graph, caps);
  const bound = (binding: unknown) => {
    const view = binding as { tensor?: object };
    const { tensor, ...part } = "tensor" in view ? (view as { tensor: object }) : { tensor: view };
    return [String(tensor), part];
  };
  return {
    steps: plan.steps.map(({ node, label, cost, dispatch: { grid, params, bindings } }) => [
      node.name,
      label,
      cost,
      grid,
      params,
      Object.entries(bindings).map(([name, binding]) => [name, bound(binding)]),
    ]),
    placed: [...plan.memory.placements.values()],
    arenas: plan.memory.arenas,
    weights: [...plan.weights.values()],
    bytes: plan.bytes,
    inputs: [...graph.inputs].map(([name, tensor]) => [name, String(tensor)]),
    outputs: [...graph.outputs].map(([name, tensor]) => [name, String(tensor)]),
    states: [...graph.states].map(([name, tensor]) => [name, String(tensor)]),
    updates: [...graph.updates].map(([state, value]) => [state.name, String(value)]),
    copies: plan.copies.map(({ from, to }) => [String(from), to.name]),
  };
}

describe.each(["f32", "f16"] as const)("a copy has the plan of its original, %s", (dtype) => {
  test.each(published(dtype))("%s", async (_name, graph) => {
    const caps = { ...(await testGpu()).caps, f16: true };
    expect(decided(rewrite(graph).graph, caps)).toEqual(decided(graph, caps));
  });
});

const tiny = {
  t5: t5Graph(
    parseT5Config({ d_model: 24, d_kv: 8, d_ff: 36, num_layers: 2, num_heads: 3, vocab_size: 45, feed_forward_proj: "gated-gelu" }),
    typed("f32"),
    { batch: 2, length: 9, dtype: "f32" },
  ),
  transformer: denoiseGraph(
    parseTransformerConfig({
      num_attention_heads: 2,
      attention_head_dim: 16,
      in_channels: 4,
      out_channels: 4,
      time_embed_dim: 16,
      text_embed_dim: 8,
      num_layers: 2,
      use_rotary_positional_embeddings: true,
      max_text_seq_length: 6,
    }),
    typed("f32"),
    { samples: 1, frames: 2, height: 4, width: 6, textLength: 6, guidance: true, stochastic: true },
    "f32",
  ),
  vae: vaeGraphs(
    parseVaeConfig({
      block_out_channels: [6, 12],
      latent_channels: 3,
      layers_per_block: 1,
      norm_num_groups: 3,
      temporal_compression_ratio: 2,
    }),
    typed("f32"),
    { part: "decode", batch: 1, frames: 5, height: 3, width: 4, format: "sample", dtype: "f32" },
  ).graphs[1]!,
};

let seed = 1;
const valuesOf = (graph: Graph): Record<string, Float32Array | Uint32Array> =>
  Object.fromEntries(
    [...graph.inputs, ...graph.states].map(([name, { dtype, size }]) => [
      name,
      dtype === "u32" ? Uint32Array.from({ length: size }, (_, i) => (7 * i) % 45) : values(size, seed++),
    ]),
  );
const weightsFor = (graph: Graph) =>
  memoryWeights(
    Object.fromEntries(
      [...weightsOf(graph)].map(([name, shape]) => [
        name,
        {
          data: values(
            shape.reduce((a, b) => a * b, 1),
            seed++,
            0.5,
          ),
          shape,
        },
      ]),
    ),
  );

/** What a run makes: outputs by their names, and what states become by the names of what they become. */
async function results(gpu: Gpu, graph: Graph, given: Record<string, ArrayBufferView>, weights: WeightProvider) {
  using store = new WeightStore(gpu, weights);
  using program = await Program.create(gpu, compile(graph, gpu.caps), store);
  for (const name of [...graph.inputs.keys(), ...graph.states.keys()]) program.write(name, given[name]!);
  await program.run();
  const made: Record<string, Float32Array> = {};
  for (const name of graph.outputs.keys()) made[name] = await program.read(name);
  for (const [state, value] of graph.updates) made[value.name] = await program.read(state.name);
  return made;
}

describe.each(Object.entries(tiny))("%s", (_name, graph) => {
  const [inputs, weights] = [valuesOf(graph), weightsFor(graph)];
  const given = (part: Graph, more: Record<string, Float32Array>) =>
    Object.fromEntries([...part.inputs.keys()].map((name) => [name, more[name] ?? inputs[name]!]));

  test("cut in the middle, with what lies on the cut as outputs and inputs, it gives the same bytes", async () => {
    const gpu = await testGpu();
    const want = await results(gpu, graph, inputs, weights);
    expect(Object.values(want).some((data) => data.some((v) => v !== 0))).toBe(true);
    for (const at of [1, Math.floor(graph.nodes.length / 2), graph.nodes.length - 2]) {
      const first = rewrite(graph, { nodes: graph.nodes.slice(0, at) }).graph;
      const made = await results(gpu, first, given(first, {}), weights);
      const second = rewrite(graph, { nodes: graph.nodes.slice(at) }).graph;
      const both = { ...made, ...(await results(gpu, second, given(second, made), weights)) };
      for (const name of Object.keys(want)) expect(both[name], `${name}, cut before ${graph.nodes[at]!.name}`).toEqual(want[name]);
    }
  });

  test("with every node recorded by the caller it gives the same bytes", async () => {
    const gpu = await testGpu();
    const copy = rewrite(graph, { replace: (node, operands, into) => into.record(node.op, operands, node.attrs) }).graph;
    expect(await results(gpu, copy, inputs, weights)).toEqual(await results(gpu, graph, inputs, weights));
  });
});

test("the nodes of a scope once more in the same graph give the same bytes", async () => {
  const gpu = await testGpu();
  const { graph } = rewrite(tiny.vae);
  const scope = "decoder.mid_block.resnets.1";
  const nodes = graph.nodes.filter((node) => node.scope.startsWith(scope));
  const last = nodes.at(-1)!.outputs["y"]!;
  const again = rewrite(graph, { into: graph, nodes }).of(last);
  graph.output("once", last);
  graph.output("again", again);
  expect(again).not.toBe(last);
  expect(graph.nodes.filter((node) => node.scope.startsWith(scope))).toHaveLength(2 * nodes.length);
  const out = await results(gpu, graph, valuesOf(graph), weightsFor(graph));
  expect(out["again"]).toEqual(out["once"]);
  expect(out["once"]!.some((v) => v !== 0)).toBe(true);
});

test("a node is replaced by others where the caller says so", async () => {
  const gpu = await testGpu();
  const graph = new Graph("replaced");
  graph.output("y", silu(graph.input("x", [8])));
  const twice = (node: Node, { x }: Node["inputs"]) => (node.op === siluOp ? { y: silu(silu(x!)) } : undefined);
  const x = values(8);
  const act = (v: number) => v / (1 + Math.exp(-v));
  const { y } = await runGraph(gpu, rewrite(graph, { replace: twice }).graph, { x });
  for (const [i, v] of x.entries()) expect(y![i]).toBeCloseTo(act(act(v)), 6);
});

test("what is missing or of another graph is refused", () => {
  const graph = new Graph("one");
  graph.output("y", silu(graph.input("x", [8])));
  expect(() => rewrite(graph, { replace: () => ({}) })).toThrow(
    /^\[rewrite\] what is recorded in place of silu must give "y", got nothing; return it/,
  );
  expect(() => rewrite(graph, { bring: (tensor) => tensor })).toThrow(
    /^\[rewrite\] what stands for x f32 \[8\] must belong to the new graph, got a tensor of another; record it there/,
  );
});
