/**
 * A whole transformer, of every style that is published, differentiated with and without blocks that are computed again. What the gradients
 * are is compared with torch's (test/reference); here it is their bytes.
 */
import { describe, expect, test } from "vitest";
import { differentiate, type DifferentiateOptions } from "../../src/gradient/differentiate.ts";
import { watch } from "../../src/gradient/watch.ts";
import { elements, type DType } from "../../src/graph/dtype.ts";
import { type AskedWeight, Graph } from "../../src/graph/graph.ts";
import type { Node } from "../../src/graph/op.ts";
import { weightsOf } from "../../src/graph/weights-of.ts";
import type { Tensor } from "../../src/graph/tensor.ts";
import { parseTransformerConfig } from "../../src/models/cogvideox/config.ts";
import { recordTransformer } from "../../src/models/cogvideox/forward.ts";
import { isLoraName } from "../../src/models/lora/merge.ts";
import { runGraph } from "../../src/run/run-graph.ts";
import { storedValues } from "../../src/run/weight-provider.ts";
import { values } from "../support/compare.ts";
import { testGpu } from "../support/gpu.ts";

interface Style {
  readonly config: Readonly<Record<string, unknown>>;
  /** Of the latents. */
  readonly shape: readonly [frames: number, channels: number, height: number, width: number];
  readonly condition?: number;
  readonly text: number;
}
const TINY = {
  num_attention_heads: 2,
  attention_head_dim: 16,
  num_layers: 2,
  in_channels: 4,
  out_channels: 4,
  time_embed_dim: 12,
  text_embed_dim: 20,
  max_text_seq_length: 7,
};
const SINCOS = { ...TINY, sample_height: 6, sample_width: 4, sample_frames: 9 };
const ROTARY = { use_rotary_positional_embeddings: true };
const PATCH_T = { ...TINY, ...ROTARY, sample_height: 300, sample_width: 300, sample_frames: 81, patch_size_t: 2, patch_bias: false };
const STYLES: Readonly<Record<string, Style>> = {
  "2B": { config: SINCOS, shape: [3, 4, 6, 4], text: 7 },
  "5B": { config: { ...TINY, ...ROTARY, sample_height: 60, sample_width: 90, sample_frames: 49 }, shape: [3, 4, 4, 6], text: 5 },
  "5B-I2V": {
    config: { ...SINCOS, ...ROTARY, use_learned_positional_embeddings: true, in_channels: 8 },
    shape: [3, 4, 6, 4],
    condition: 4,
    text: 7,
  },
  "1.5": { config: PATCH_T, shape: [4, 4, 6, 4], text: 7 },
  "1.5-I2V": { config: { ...PATCH_T, in_channels: 8, ofs_embed_dim: 12 }, shape: [2, 4, 4, 6], condition: 4, text: 4 },
};

const BLOCK = ({ scope }: Node): string | undefined => /^transformer_blocks\.\d+/.exec(scope)?.[0];
const BATCH = 2;

/** Matrices are stored as `dtype`, vectors in f32. */
const typeOf = (name: string, dtype: DType): DType => (/norm_[qk]|norm_final|\.norm\.|bias$/.test(name) ? "f32" : dtype);

/** The gradients of everything that is trained, as outputs of the graph, and what its inputs hold. */
function differentiated({ config, shape, condition, text }: Style, adapters: boolean, dtype: DType, options: DifferentiateOptions) {
  const c = parseTransformerConfig(config, "the test");
  const inputs: Record<string, Float32Array> = {};
  const trained: Tensor[] = [];
  const given = (graph: Graph, name: string, size: readonly number[], scale = 1): Tensor => {
    const tensor = graph.input(name, size);
    inputs[name] = values(tensor.size, 1 + Object.keys(inputs).length, scale);
    return tensor;
  };
  const standIn = ({ names, shape: size }: AskedWeight, graph: Graph): Tensor | undefined => {
    if (names.every(isLoraName) !== adapters) return undefined;
    const parameter = watch(given(graph, names.join("+"), size, size.length > 1 ? 0.3 : 1));
    trained.push(parameter);
    return parameter;
  };
  const graph = new Graph("differentiated", (name) => typeOf(name, dtype), standIn);
  const prediction = recordTransformer(
    graph,
    c,
    {
      latents: given(graph, "latents", [BATCH, ...shape]),
      ...(condition ? { condition: given(graph, "condition", [BATCH, shape[0], condition, shape[2], shape[3]]) } : {}),
      text: given(graph, "text", [BATCH, text, c.text_embed_dim]),
      timestep: given(graph, "timestep", [BATCH], 500),
      ...(c.ofs_embed_dim === null ? {} : { ofs: given(graph, "ofs", [BATCH], 2) }),
    },
    dtype,
    adapters ? { rank: (weight) => (/attn1\.to_|ff\.net/.test(weight) ? 4 : 0) } : undefined,
  );
  graph.output("prediction", prediction);
  const cotangent = given(graph, "cotangent", prediction.shape);
  const gradients = differentiate([{ of: prediction, gradient: cotangent }], trained, options);
  for (const [i, gradient] of gradients.entries()) if (gradient) graph.output(`gradient of ${trained[i]!.name}`, gradient);
  for (const [name, { shape: size }] of graph.inputs) inputs[name] ??= new Float32Array(elements(size)).fill(0.5);
  return { graph, inputs, missing: trained.filter((_, i) => !gradients[i]).map(({ name }) => name) };
}

const WAYS: Readonly<Record<string, DifferentiateOptions>> = {
  "blocks are computed again": { again: BLOCK },
  "blocks without attention are computed again": { again: BLOCK, keep: ({ op }) => op.name === "attention" },
};

const HALF = new Set(["5B-I2V", "1.5"]);
const RUNS = Object.entries(STYLES).flatMap(([name, style]) =>
  (["f32", "f16"] as const)
    .filter((dtype) => dtype === "f32" || HALF.has(name))
    .flatMap((dtype) => (["every weight", "adapters"] as const).map((trained) => ({ name, style, trained, dtype }))),
);

describe("the same bytes however blocks are kept", () => {
  test.for(RUNS)("$name, $trained in $dtype storage", { timeout: 120_000 }, async ({ style, trained, dtype }, { skip }) => {
    const gpu = await testGpu();
    if (dtype === "f16") skip(!gpu.caps.f16, "needs an adapter with shader-f16");
    const run = async (options: DifferentiateOptions) => {
      const { graph, inputs, missing } = differentiated(style, trained === "adapters", dtype, options);
      expect(missing).toEqual([]);
      const shapes = weightsOf(graph);
      return runGraph(gpu, graph, inputs, {
        type: (name) => typeOf(name, dtype),
        stored: (name) => storedValues(name, values(elements(shapes.get(name)!), 77, 0.3), shapes.get(name)!),
      });
    };
    const plain = await run({});
    for (const [name, data] of Object.entries(plain)) {
      expect(data.every(Number.isFinite), name).toBe(true);
      expect(
        data.some((v) => v !== 0),
        name,
      ).toBe(true);
    }
    for (const [name, options] of Object.entries(WAYS)) expect(await run(options), name).toEqual(plain);
  });
});
