import { expect, test } from "vitest";
import type { StoredWeight } from "../../../src/graph/stored.ts";
import { storedValues, type WeightProvider } from "../../../src/run/weight-provider.ts";
import { compile } from "../../../src/plan/compile.ts";
import { parseT5Config, type T5Config } from "../../../src/models/t5/config.ts";
import { expectedT5Weights } from "../../../src/models/t5/weights.ts";
import { T5Encoder, t5Graph } from "../../../src/models/t5/model.ts";
import { expectClose, values } from "../../support/compare.ts";
import { limitedGpu, memoryWeights, testGpu } from "../../support/gpu.ts";

/** transformers' config.json of google/t5-v1_1-xxl, which CogVideoX uses. */
const XXL = {
  architectures: ["T5EncoderModel"],
  d_ff: 10240,
  d_kv: 64,
  d_model: 4096,
  decoder_start_token_id: 0,
  dense_act_fn: "gelu_new",
  dropout_rate: 0.1,
  eos_token_id: 1,
  feed_forward_proj: "gated-gelu",
  initializer_factor: 1.0,
  is_encoder_decoder: true,
  is_gated_act: true,
  layer_norm_epsilon: 1e-6,
  model_type: "t5",
  num_decoder_layers: 24,
  num_heads: 64,
  num_layers: 24,
  output_past: true,
  pad_token_id: 0,
  relative_attention_max_distance: 128,
  relative_attention_num_buckets: 32,
  tie_word_embeddings: false,
  vocab_size: 32128,
};
const small = (changes: Partial<T5Config> = {}): T5Config =>
  parseT5Config({ ...XXL, d_model: 24, d_kv: 8, d_ff: 36, num_layers: 2, num_heads: 3, vocab_size: 45, ...changes });

function randomWeights(config: T5Config): Record<string, { data: Float32Array; shape: number[] }> {
  let seed = 0;
  return Object.fromEntries(
    [...expectedT5Weights(config)].map(([name, shape]) => [
      name,
      {
        data: values(
          shape.reduce((a, b) => a * b),
          ++seed,
          shape.length > 1 ? 0.5 : 1,
        ),
        shape,
      },
    ]),
  );
}

test("the XXL encoder has the parameters of the published file", () => {
  const shapes = [...expectedT5Weights(parseT5Config(XXL)).values()];
  expect(shapes.reduce((n, shape) => n + shape.reduce((a, b) => a * b), 0)).toBe(4_762_310_656);
});

test("the XXL encoder is planned without a GPU: one binding limit of 128 MiB, 226 tokens", async () => {
  const { caps } = await testGpu();
  const graph = t5Graph(parseT5Config(XXL), { type: () => "f32" }, { batch: 1, length: 226 });
  const plan = compile(graph, { ...caps, maxBindingBytes: 128 * 2 ** 20, maxBufferBytes: 2 ** 40 });
  // The table of the vocabulary stays where it is stored, but for the rows of the ids.
  expect(plan.bytes.weights).toBe((4_762_310_656 - 32128 * 4096) * 4);
  expect(plan.steps.filter((s) => s.node.op.name === "embedding").length).toBe(1);
  expect(plan.bytes.activations).toBeLessThan(100e6);
});

test("tables, products and grids cut into windows change nothing", async () => {
  const config = small({ d_model: 64, d_ff: 132, vocab_size: 300 });
  const weights = memoryWeights(randomWeights(config));
  const ids = Int32Array.from({ length: 2 * 21 }, (_, i) => (i * 37) % 300);
  using whole = await T5Encoder.create(await testGpu(), config, weights, { batch: 2, length: 21 });
  await using gpu = await limitedGpu({ maxBindingBytes: 40 * 1024, maxGrid: 13, immediates: false, kind: "hardware" });
  using cut = await T5Encoder.create(gpu, config, weights, { batch: 2, length: 21 });
  const want = await whole.encode(ids);
  expectClose(await cut.encode(ids), want, 1e-5, [2, 21, 64]);
  expect(await whole.encode(ids)).toEqual(want);
});

test("of the table of words the rows of the ids are read, once each, in any format", async () => {
  const config = small({ d_model: 32, d_kv: 8, num_heads: 4 });
  const weights = memoryWeights(randomWeights(config));
  const ids = Int32Array.of(7, 0, 44, 7, 0, 0, 12);
  const gpu = await testGpu();
  const encode = async (table: StoredWeight, read: [number, number][] = []) => {
    const watched: WeightProvider = {
      type: weights.type,
      stored: (name) =>
        name === "shared.weight"
          ? { ...table, read: (start, into, signal) => (read.push([start, into.length]), table.read(start, into, signal)) }
          : weights.stored(name),
    };
    using encoder = await T5Encoder.create(gpu, config, watched, { batch: 1, length: 7 });
    expect(read, "nothing of it comes with the other weights").toEqual([]);
    return await encoder.encode(ids);
  };
  const read: [number, number][] = [];
  expect((await encode(weights.stored("shared.weight"), read)).every(Number.isFinite)).toBe(true);
  expect(read).toEqual([0, 7, 12, 44].map((row) => [row * 32 * 4, 32 * 4]));
  // Blocks of 32 values: a scale of 2, and the row's number in all of them.
  const blocks = Uint8Array.from({ length: 45 * 34 }, (_, i) => (i % 34 === 1 ? 0x40 : i % 34 === 0 ? 0 : Math.floor(i / 34)));
  const quantized: StoredWeight = {
    label: "blocks",
    shape: [45, 32],
    format: "q8_0",
    read: async (start, into) => into.set(blocks.subarray(start, start + into.length)),
  };
  const numbers = Float32Array.from({ length: 45 * 32 }, (_, i) => 2 * Math.floor(i / 32));
  expect(await encode(quantized)).toEqual(await encode(storedValues("numbers", numbers, [45, 32])));
});

test("every text of a batch is encoded by itself", async () => {
  const config = small();
  const weights = memoryWeights(randomWeights(config));
  const gpu = await testGpu();
  const ids = Int32Array.from({ length: 14 }, (_, i) => (i * 11) % 45);
  using two = await T5Encoder.create(gpu, config, weights, { batch: 2, length: 7 });
  using one = await T5Encoder.create(gpu, config, weights, { batch: 1, length: 7 });
  const both = await two.encode(ids);
  expectClose(await one.encode(ids.subarray(7)), both.subarray(7 * 24), 1e-6);
});

test("products beyond f16's range stay right in f16 storage", async ({ skip }) => {
  const gpu = await testGpu();
  skip(!gpu.caps.f16, "needs an adapter with shader-f16");
  const config = small({ num_layers: 1 });
  const values = randomWeights(config);
  // Gate and value of about 1e3 each: their product is about 1e6, and wo brings it back.
  for (const name of ["wi_0", "wi_1"])
    values[`encoder.block.0.layer.1.DenseReluDense.${name}.weight`]!.data = values[
      `encoder.block.0.layer.1.DenseReluDense.${name}.weight`
    ]!.data.map((v) => v * 2000);
  const ids = Int32Array.from({ length: 9 }, (_, i) => i * 5);
  using wide = await T5Encoder.create(gpu, config, memoryWeights(values), { batch: 1, length: 9 });
  using half = await T5Encoder.create(gpu, config, memoryWeights(values, "f16"), { batch: 1, length: 9, dtype: "f16" });
  expectClose(await half.encode(ids, { checkFinite: true }), await wide.encode(ids), 5e-3, [9, 24]);
});

test("disposing frees everything, and so does a failed load", async () => {
  const gpu = await testGpu();
  const config = small();
  const before = gpu.memory.allocated;
  (await T5Encoder.create(gpu, config, memoryWeights(randomWeights(config)), { batch: 1, length: 5 }))[Symbol.dispose]();
  const broken = randomWeights(config);
  broken["encoder.final_layer_norm.weight"] = { data: new Float32Array(3), shape: [3] };
  await expect(T5Encoder.create(gpu, config, memoryWeights(broken), { batch: 1, length: 5 })).rejects.toThrow(
    /encoder\.final_layer_norm\.weight must have shape \[24\], got 3 values/,
  );
  expect(gpu.memory.allocated).toBe(before);
});

test("ids are checked", async () => {
  const config = small();
  using encoder = await T5Encoder.create(await testGpu(), config, memoryWeights(randomWeights(config)), { batch: 1, length: 4 });
  await expect(encoder.encode(Int32Array.of(1, 2, 3))).rejects.toThrow(/\[t5\] this encoder takes 1 × 4 ids, got 3/);
  await expect(encoder.encode(Int32Array.of(1, 2, 45, 3))).rejects.toThrow(/\[t5\] ids must lie within 0 to 44, got 45 at 2/);
  await expect(encoder.encode(Int32Array.of(1, 2, -1, 3))).rejects.toThrow(/got -1 at 2/);
});

test("configs of other T5s are refused, with all that is wrong", () => {
  expect(() =>
    parseT5Config({ ...XXL, feed_forward_proj: "relu", is_gated_act: false, dense_act_fn: "relu", d_kv: 130, num_heads: 0 }),
  ).toThrow(
    /\[t5\] text_encoder\/config\.json: feed_forward_proj must be "gated-gelu" \(T5 version 1\.1\), got "relu"; is_gated_act must be true .*; dense_act_fn must be "gelu_new", got "relu"; d_kv must be a positive multiple of 4 up to 128, got 130; num_heads must be a whole number from 1 to 1024, got 0; this engine runs T5 v1\.1 encoders/,
  );
  expect(() => parseT5Config({ ...XXL, d_model: undefined, model_type: "umt5" })).toThrow(
    /model_type must be "t5", got "umt5"; d_model must be a positive multiple of 4 up to 65536, got nothing/,
  );
  expect(() => parseT5Config("x", "a.json")).toThrow(/\[t5\] a\.json: the config must be a JSON object, got "x"/);
  const { dense_act_fn: _, is_gated_act: __, relative_attention_max_distance: ___, ...old } = XXL;
  expect(parseT5Config(old)).toEqual(parseT5Config(XXL));
});
