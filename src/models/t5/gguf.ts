/** T5 encoders as llama.cpp stores them: names of tensors, and the config in the metadata (llama-arch.cpp, convert_hf_to_gguf.py). */
import type { GgufArchitecture, GgufArchitectures } from "../../checkpoint/component-file.ts";
import type { GgufFile, GgufValue } from "../../files/gguf.ts";
import type { T5Config } from "./config.ts";

/** llama.cpp's name of a part of a block → its published name within the block. */
const BLOCK: ReadonlyMap<string, string> = new Map([
  ["attn_q", "layer.0.SelfAttention.q"],
  ["attn_k", "layer.0.SelfAttention.k"],
  ["attn_v", "layer.0.SelfAttention.v"],
  ["attn_o", "layer.0.SelfAttention.o"],
  ["attn_rel_b", "layer.0.SelfAttention.relative_attention_bias"],
  ["attn_norm", "layer.0.layer_norm"],
  ["ffn_gate", "layer.1.DenseReluDense.wi_0"],
  ["ffn_up", "layer.1.DenseReluDense.wi_1"],
  ["ffn_down", "layer.1.DenseReluDense.wo"],
  ["ffn_norm", "layer.1.layer_norm"],
]);
const OUTSIDE: ReadonlyMap<string, string> = new Map([
  ["token_embd", "shared"],
  ["enc.output_norm", "encoder.final_layer_norm"],
]);
const PUBLISHED = new Map([...BLOCK].map(([short, name]) => [name, short]));
const PUBLISHED_OUTSIDE = new Map([...OUTSIDE].map(([short, name]) => [name, short]));

/** The published name of a tensor; that of a whole T5's decoder is nothing here. */
function weight(tensor: string): string | undefined {
  const [, block, part] = /^enc\.blk\.(\d+)\.(\w+)\.weight$/.exec(tensor) ?? [];
  const name = part === undefined ? undefined : BLOCK.get(part);
  if (name !== undefined) return `encoder.block.${block}.${name}.weight`;
  const outside = OUTSIDE.get(tensor.replace(/\.weight$/, ""));
  if (outside !== undefined) return `${outside}.weight`;
  return /^dec\.|^output\.weight$/.test(tensor) ? undefined : tensor;
}

/** The name that llama.cpp gives a weight, undefined for one that it has none for. */
export function ggufName(published: string): string | undefined {
  const [, block, part] = /^encoder\.block\.(\d+)\.(.+)\.weight$/.exec(published) ?? [];
  const name = part === undefined ? undefined : PUBLISHED.get(part);
  if (name !== undefined) return `enc.blk.${block}.${name}.weight`;
  const outside = PUBLISHED_OUTSIDE.get(published.replace(/\.weight$/, ""));
  return outside === undefined ? undefined : `${outside}.weight`;
}

/** Metadata keys, below the architecture's name, of the config's own. */
const KEYS: Readonly<Partial<Record<keyof T5Config, string>>> = {
  d_model: "embedding_length",
  d_kv: "attention.key_length",
  d_ff: "feed_forward_length",
  num_layers: "block_count",
  num_heads: "attention.head_count",
  relative_attention_num_buckets: "attention.relative_buckets_count",
  layer_norm_epsilon: "attention.layer_norm_rms_epsilon",
};

/** Of this engine's own: llama.cpp's files do not say from which distance on a bucket is shared, for all that it knows have 128. */
const DISTANCE = "attention.relative_max_distance";
const USUAL_DISTANCE = 128;

/** The config as transformers has it. */
function config({ metadata, tensors }: GgufFile): Record<string, unknown> | undefined {
  const architecture = String(metadata.get("general.architecture"));
  // A number was stored in f32: the shortest that it can have been.
  const plain = (value: GgufValue): unknown => (typeof value === "number" ? Number(value.toPrecision(7)) : value);
  const found = Object.entries(KEYS).map(([key, name]) => [key, metadata.get(`${architecture}.${name}`)] as const);
  const vocab_size = tensors.get("token_embd.weight")?.shape[0];
  if (vocab_size === undefined || found.some(([, value]) => value === undefined)) return undefined;
  return {
    architectures: ["T5EncoderModel"],
    model_type: "t5",
    feed_forward_proj: "gated-gelu",
    vocab_size,
    relative_attention_max_distance: metadata.get(`${architecture}.${DISTANCE}`) ?? USUAL_DISTANCE,
    ...Object.fromEntries(found.map(([key, value]) => [key, plain(value!)])),
  };
}

/** What a file of a T5 encoder is written with, so that others read it too. */
export function ggufMetadata(c: T5Config): Map<string, GgufValue> {
  const out = new Map<string, GgufValue>([["general.architecture", "t5encoder"]]);
  for (const [key, name] of Object.entries(KEYS)) out.set(`t5encoder.${name}`, c[key as keyof T5Config]);
  out.set("t5encoder.attention.value_length", c.d_kv);
  if (c.relative_attention_max_distance !== USUAL_DISTANCE) out.set(`t5encoder.${DISTANCE}`, c.relative_attention_max_distance);
  return out;
}

const architecture: GgufArchitecture = { weight, config };
/** An encoder alone, and a whole T5, of which the encoder is read. */
export const T5_GGUF: GgufArchitectures = { t5encoder: architecture, t5: architecture };
