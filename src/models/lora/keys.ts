/** Which weight of the transformer a key of an adapter's file is about. docs/lora.md has the table of dialects. */

/** What a key says. */
export interface LoraKey {
  /** Name of the module in the model, such as `transformer_blocks.0.attn1.to_q`. */
  readonly module: string;
  /** Name of the module as the patterns of PEFT's config see it. */
  readonly path: string;
  readonly part: "down" | "up" | "alpha";
  /** The authors' own keys, whose alpha is 1 unless told. */
  readonly sat: boolean;
}

const PREFIXES = /^(?:base_model\.model\.|model\.diffusion_model\.|diffusion_model\.|transformer\.|module\.)/;
const SAT_MODULES: Readonly<Record<string, readonly string[]>> = {
  "attention.query_key_value": ["attn1.to_q", "attn1.to_k", "attn1.to_v"],
  "attention.dense": ["attn1.to_out.0"],
  "mlp.dense_h_to_4h": ["ff.net.0.proj"],
  "mlp.dense_4h_to_h": ["ff.net.2"],
};

/** Prefix of the keys that PEFT itself saves. */
export const PEFT_PREFIX = "base_model.model.";

/**
 * @param modules the model's modules by their names with `_` in place of `.`
 * @returns undefined for keys that are no part of a LoRA of the transformer; `unsupportedKey` says what they are
 */
export function parseLoraKey(key: string, modules: ReadonlyMap<string, string>): LoraKey | undefined {
  const sat =
    /(?:^|\.)layers\.(\d+)\.(attention\.query_key_value|attention\.dense|mlp\.dense_h_to_4h|mlp\.dense_4h_to_h)\.matrix_([AB])\.(\d)$/.exec(
      key,
    );
  if (sat) {
    const part = SAT_MODULES[sat[2]!]![Number(sat[4])];
    if (part === undefined) return undefined;
    const module = `transformer_blocks.${sat[1]}.${part}`;
    return { module, path: module, part: sat[3] === "A" ? "down" : "up", sat: true };
  }
  // `to_q_lora.down.weight` is `to_q_lora`, then `down`: diffusers' first attention adapters.
  const [, path, a, b] =
    /^(.+?_lora(?=\.(?:down|up)\.weight$)|.+?)\.(?:lora_([AB]|down|up)(?:\.[\w-]+)?\.weight|(?:(?<=_lora\.)|lora(?:_linear_layer)?\.)(down|up)\.weight|alpha)$/.exec(
      key,
    ) ?? [];
  if (path === undefined) return undefined;
  const part = a === "A" || (a ?? b) === "down" ? "down" : a === "B" || (a ?? b) === "up" ? "up" : "alpha";
  const flat = /^lora_(?:unet|transformer)_+(.+)$/.exec(path)?.[1];
  if (flat !== undefined) {
    const module = modules.get(flat) ?? path;
    return { module, path: module, part, sat: false };
  }
  let module = path;
  while (PREFIXES.test(module)) module = module.replace(PREFIXES, "");
  module = module.replace(/\.processor\.(to_[qkv])_lora$/, ".$1").replace(/\.processor\.to_out_lora$/, ".to_out.0");
  return { module, path: path.startsWith(PEFT_PREFIX) ? path.slice(PEFT_PREFIX.length) : module, part, sat: false };
}

/** Keys of other methods, and of parts of a LoRA that are more than a pair of matrices. */
const UNSUPPORTED: readonly (readonly [RegExp, string])[] = [
  [/dora_scale|lora_magnitude_vector/, "DoRA is not supported"],
  [/^(?:text_encoder|lora_te)|(?:^|\.)text_encoder(?:_\d)?\./, "adapters of the text encoder are not supported"],
  [/\.hada_[wt]\d/, "LoHa is not supported"],
  [/\.lokr_[wt]\d/, "LoKr is not supported"],
  [/\.ia3_l|\.on_input$/, "IA3 is not supported"],
  [/\.lora_E\b|\.ranknum\b/, "AdaLoRA is not supported"],
  [/vera_lambda|\.vera_[AB]\b/, "VeRA is not supported"],
  [/\.b?oft_|oft_diag/, "OFT is not supported"],
  [/\.lora_diag\b/, "KaSA is not supported"],
  [/\.lora_mid\b/, "LoCon's Tucker decomposition is not supported"],
  [/\.lora_embedding_[AB]\b/, "adapters of embeddings are not supported"],
  [/\.lora_(?:B|up)(?:\.[\w-]+)?\.bias$|\.lora\.up\.bias$/, "lora_bias is not supported"],
  [/\.(?:diff|diff_b|set_weight)$/, "whole weights beside the pairs are not supported"],
  [/\.modules_to_save\./, "modules_to_save is not supported"],
];

/** What a key is, if it belongs to something that is known and not supported. */
export function unsupportedKey(key: string, isWeight: (name: string) => boolean): string | undefined {
  const known = UNSUPPORTED.find(([pattern]) => pattern.test(key))?.[1];
  if (known !== undefined) return known;
  let name = key;
  while (PREFIXES.test(name)) name = name.replace(PREFIXES, "");
  name = name.replace(/\.base_layer\./, ".");
  if (!isWeight(name)) return undefined;
  return name.endsWith(".bias")
    ? "biases beside the pairs (bias or modules_to_save of PEFT's config) are not supported"
    : "whole weights beside the pairs (modules_to_save of PEFT's config) are not supported";
}
