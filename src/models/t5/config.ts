/** The configuration of a T5 encoder, version 1.1: `text_encoder/config.json`, judged. */
import { ConfigKeys, configObject, legal, type Judged } from "../../checkpoint/config-keys.ts";

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

/** Of transformers' own T5 configs: what belongs to its decoder, to training, to generation or to the tokenizer. */
const OTHERS = [
  "architectures",
  "bos_token_id",
  "chunk_size_feed_forward",
  "classifier_dropout",
  "decoder_start_token_id",
  "dropout_rate",
  "dtype",
  "eos_token_id",
  "finetuning_task",
  "gradient_checkpointing",
  "id2label",
  "initializer_factor",
  "is_encoder_decoder",
  "label2id",
  "n_positions",
  "num_decoder_layers",
  "output_attentions",
  "output_hidden_states",
  "output_past",
  "pad_token_id",
  "problem_type",
  "return_dict",
  "scale_decoder_outputs",
  "sep_token_id",
  "task_specific_params",
  "tie_encoder_decoder",
  "tie_word_embeddings",
  "tokenizer_class",
  "torch_dtype",
  "torchscript",
  "transformers_version",
  "use_bfloat16",
  "use_cache",
];

/**
 * The rule: which T5 encoders the engine runs, those of version 1.1. Everything that reads, plans or draws configs asks it. `json` is
 * untrusted.
 */
export function judgeT5Config(json: Readonly<Record<string, unknown>>): Judged<T5Config> {
  const keys = new ConfigKeys(json);
  const count = (name: string, multipleOf = 1, preset?: number, most = 65536): number => {
    const rule = multipleOf === 1 ? `a whole number from 1 to ${most}` : `a positive multiple of ${multipleOf} up to ${most}`;
    return (
      keys.read(
        name,
        preset,
        (v) => Number.isInteger(v) && (v as number) > 0 && (v as number) <= most && (v as number) % multipleOf === 0,
        rule,
      ) ?? multipleOf
    );
  };
  keys.only("model_type", ["t5"]);
  keys.read("feed_forward_proj", undefined, (v) => v === "gated-gelu", '"gated-gelu" (T5 version 1.1)');
  keys.only("is_gated_act", [true], "T5 version 1.1");
  keys.only("dense_act_fn", ["gelu_new"]);
  keys.only("is_decoder", [false]);
  keys.only("add_cross_attention", [false]);
  keys.only("pruned_heads", [{}, null]);
  keys.only("quantization_config", [null], "quantized weights");
  keys.ignore(...OTHERS);
  const config: T5Config = {
    d_model: count("d_model", 4),
    d_kv: count("d_kv", 4, undefined, 128),
    d_ff: count("d_ff", 4, undefined, 2 ** 20),
    num_heads: count("num_heads", 1, undefined, 1024),
    num_layers: count("num_layers", 1, undefined, 1024),
    vocab_size: count("vocab_size", 1, undefined, 2 ** 24),
    relative_attention_num_buckets: keys.count("relative_attention_num_buckets", 32, { least: 4 }),
    relative_attention_max_distance: count("relative_attention_max_distance", 1, 128),
    layer_norm_epsilon: keys.number("layer_norm_epsilon", 1e-6, (v) => v > 0 && v < 1, "a number between 0 and 1"),
  };
  const least = Math.floor(Math.floor(config.relative_attention_num_buckets / 2) / 2) + 1;
  if (config.relative_attention_max_distance < least)
    keys.refuse(
      "relative_attention_max_distance",
      `at least ${least}, beyond the buckets of single steps`,
      config.relative_attention_max_distance,
    );
  return { config, problems: keys.problems, unknown: keys.unknown };
}

/** The config of a file, or an error that says all that is wrong. `file` is what messages call it. */
export function parseT5Config(json: unknown, file = "text_encoder/config.json"): T5Config {
  return legal("t5", file, judgeT5Config(configObject("t5", file, json)), "this engine runs T5 v1.1 encoders, use such a checkpoint");
}
