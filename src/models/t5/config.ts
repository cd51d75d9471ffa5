/** The configuration of a T5 encoder, version 1.1: `text_encoder/config.json`, checked. */
import { CogwheelError } from "../../errors.ts";

/** Names and meanings are transformers' (T5Config). */
export interface T5Config {
  readonly vocab_size: number;
  readonly d_model: number;
  /** Width of one head; heads together need not have the width of the model. */
  readonly d_kv: number;
  readonly d_ff: number;
  readonly num_layers: number;
  readonly num_heads: number;
  readonly relative_attention_num_buckets: number;
  readonly relative_attention_max_distance: number;
  readonly layer_norm_epsilon: number;
}

/** Checks a parsed JSON value; everything wrong with it is told at once. `file` is what messages call it. */
export function parseT5Config(json: unknown, file = "text_encoder/config.json"): T5Config {
  if (typeof json !== "object" || json === null || Array.isArray(json)) throw new CogwheelError("t5", `${file}: must hold a JSON object, got ${JSON.stringify(json) ?? "nothing"}; download the file again`);
  const given = json as Record<string, unknown>;
  const wrong: string[] = [];
  const expect = (ok: boolean, name: string, rule: string): void => {
    if (!ok) wrong.push(`${name} ${rule}, got ${JSON.stringify(given[name]) ?? "nothing"}`);
  };
  const count = (name: string, multipleOf = 1, preset?: number): number => {
    const value = given[name] ?? preset;
    const ok = typeof value === "number" && Number.isSafeInteger(value) && value > 0 && value % multipleOf === 0;
    expect(ok, name, multipleOf === 1 ? "must be a whole number from 1" : `must be a positive multiple of ${multipleOf}`);
    return ok ? value : multipleOf;
  };
  expect(given["model_type"] === undefined || given["model_type"] === "t5", "model_type", 'must be "t5"');
  expect(given["feed_forward_proj"] === "gated-gelu", "feed_forward_proj", 'must be "gated-gelu" (T5 version 1.1)');
  expect((given["is_gated_act"] ?? true) === true, "is_gated_act", "must be true (T5 version 1.1)");
  expect((given["dense_act_fn"] ?? "gelu_new") === "gelu_new", "dense_act_fn", 'must be "gelu_new"');
  const eps = given["layer_norm_epsilon"] ?? 1e-6;
  expect(typeof eps === "number" && eps > 0 && eps < 1, "layer_norm_epsilon", "must be a number between 0 and 1");
  const config: T5Config = {
    vocab_size: count("vocab_size"),
    d_model: count("d_model", 4),
    d_kv: count("d_kv", 4),
    d_ff: count("d_ff", 4),
    num_layers: count("num_layers"),
    num_heads: count("num_heads"),
    relative_attention_num_buckets: count("relative_attention_num_buckets", 4, 32),
    relative_attention_max_distance: count("relative_attention_max_distance", 1, 128),
    layer_norm_epsilon: eps as number,
  };
  expect(config.d_kv <= 128, "d_kv", "must be at most 128");
  const least = config.relative_attention_num_buckets / 4 + 1;
  expect(config.relative_attention_max_distance >= least, "relative_attention_max_distance", `must be at least ${least}, beyond the buckets of single steps`);
  if (wrong.length) throw new CogwheelError("t5", `${file}: ${wrong.join("; ")}; this engine runs T5 v1.1 encoders, use such a checkpoint`);
  return config;
}

/**
 * Every weight of the encoder by its published name, with its shape. Checkpoints hold the token embedding as
 * `shared.weight`, as `encoder.embed_tokens.weight` or as both; whoever provides the weights finds it under either.
 */
export function expectedT5Weights(config: T5Config): Map<string, number[]> {
  const { vocab_size, d_model, d_kv, d_ff, num_layers, num_heads } = config;
  const inner = num_heads * d_kv;
  const weights = new Map<string, number[]>([["shared.weight", [vocab_size, d_model]]]);
  for (let i = 0; i < num_layers; i++) {
    const block = `encoder.block.${i}`;
    for (const name of ["q", "k", "v"]) weights.set(`${block}.layer.0.SelfAttention.${name}.weight`, [inner, d_model]);
    weights.set(`${block}.layer.0.SelfAttention.o.weight`, [d_model, inner]);
    if (i === 0) weights.set(`${block}.layer.0.SelfAttention.relative_attention_bias.weight`, [config.relative_attention_num_buckets, num_heads]);
    weights.set(`${block}.layer.0.layer_norm.weight`, [d_model]);
    weights.set(`${block}.layer.1.DenseReluDense.wi_0.weight`, [d_ff, d_model]);
    weights.set(`${block}.layer.1.DenseReluDense.wi_1.weight`, [d_ff, d_model]);
    weights.set(`${block}.layer.1.DenseReluDense.wo.weight`, [d_model, d_ff]);
    weights.set(`${block}.layer.1.layer_norm.weight`, [d_model]);
  }
  return weights.set("encoder.final_layer_norm.weight", [d_model]);
}
