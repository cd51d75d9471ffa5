/** The weights that the models' graphs ask for are those of the published checkpoints, in the order of a state dict. */
import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import { Graph } from "../../src/graph/graph.ts";
import { weightsOf } from "../../src/graph/weights-of.ts";
import { parseTransformerConfig } from "../../src/models/cogvideox/config.ts";
import { blockWeights, transformerWeights } from "../../src/models/cogvideox/weights.ts";
import { parseT5Config } from "../../src/models/t5/config.ts";
import { expectedT5Weights } from "../../src/models/t5/weights.ts";

const wide = { num_attention_heads: 48, num_layers: 42, use_rotary_positional_embeddings: true };
const later = { ...wide, patch_size_t: 2, patch_bias: false, sample_height: 300, sample_width: 300, sample_frames: 81 };
const transformers = {
  "2B": {},
  "5B": wide,
  "5B-I2V": { ...wide, in_channels: 32, use_learned_positional_embeddings: true },
  "1.5-5B": later,
  "1.5-5B-I2V": { ...later, in_channels: 32, ofs_embed_dim: 512 },
};

/** How many, and a digest of their names and shapes in order, as lists by hand had them. */
const told = (weights: ReadonlyMap<string, readonly number[]>) =>
  `${weights.size} ${createHash("sha256")
    .update(JSON.stringify([...weights]))
    .digest("hex")
    .slice(0, 16)}`;

test.for<[keyof typeof transformers, string]>([
  ["2B", "736 ecb3dddde1c1b83f"],
  ["5B", "1024 a0d2a56d3c52a14c"],
  ["5B-I2V", "1025 33b5b2e8b699f9ac"],
  ["1.5-5B", "1024 938cec868eea8166"],
  ["1.5-5B-I2V", "1028 0be7edc6e10a7686"],
])("the transformer of %s", ([name, published]) => {
  const config = parseTransformerConfig(transformers[name]);
  const weights = transformerWeights(config);
  expect(told(weights)).toBe(published);
  const block = "transformer_blocks.0.";
  const own = [...weights].filter(([weight]) => weight.startsWith(block)).map(([weight, shape]) => [weight.slice(block.length), shape]);
  expect([...blockWeights(config)]).toEqual(own);
});

test("T5-XXL", () => {
  const config = { d_model: 4096, d_kv: 64, d_ff: 10240, num_layers: 24, num_heads: 64, vocab_size: 32128 };
  expect(told(expectedT5Weights(parseT5Config({ ...config, feed_forward_proj: "gated-gelu" })))).toBe("219 ea839ccab5ae22e4");
});

test("weights that are joined have their own shapes, and numbers count up", () => {
  const graph = new Graph("joined");
  graph.weight("b.10.weight", [3]);
  graph.weight(["b.9.bias", "b.9.weight"], [8, 5]);
  graph.weight("other", [2]);
  graph.weight("a.weight", [1, 2, 3]);
  expect([...weightsOf(graph, ["a", "b", "weight", "bias"])]).toEqual([
    ["a.weight", [1, 2, 3]],
    ["b.9.weight", [4, 5]],
    ["b.9.bias", [4, 5]],
    ["b.10.weight", [3]],
    ["other", [2]],
  ]);
  expect([...weightsOf(graph).keys()]).toEqual(["b.10.weight", "b.9.bias", "b.9.weight", "other", "a.weight"]);
  graph.weight(["one", "two"], [5]);
  expect(() => weightsOf(graph)).toThrow(/^\[graph\] joined weights must share their first axis evenly, got \[5\] for one, two; /);
});
