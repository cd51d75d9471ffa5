/**
 * How large random weights must be for every activation to stay near 1, as it does in trained models: matrices and convolutions by their
 * inputs' number, norms near 1, biases small, and T5's queries by its heads' width too, since its attention does not scale.
 */
import { elements } from "../../base/shape.ts";

/** The normal distribution that a weight is drawn from. */
export interface Scale {
  readonly mean: number;
  readonly deviation: number;
}

/** @param config of the weight's component, by its file's keys */
export function scaleOf(name: string, shape: readonly number[], config: Readonly<Record<string, unknown>>): Scale {
  const about = (mean: number, deviation: number): Scale => ({ mean, deviation });
  const inputs = elements(shape) / shape[0]!;
  // The VAE's spatial norm multiplies by a convolution of the latent, whose bias is therefore a norm's weight.
  if (/\.conv_y\.conv\.bias$/.test(name)) return about(1, 0.05);
  if (/\.conv_[yb]\.conv\.weight$/.test(name)) return about(0, 0.2 / Math.sqrt(inputs));
  if (/^shared\.|embed_tokens|relative_attention_bias/.test(name)) return about(0, 1);
  if (/pos_embedding$/.test(name)) return about(0, 0.02);
  if (name.endsWith("bias")) return about(0, 0.02);
  if (shape.length === 1) return about(1, 0.05);
  if (/SelfAttention\.q\.weight$/.test(name)) return about(0, 1 / Math.sqrt(inputs * Number(config["d_kv"])));
  // Few pixels black or white.
  if (/^decoder\.conv_out\./.test(name)) return about(0, 0.25 / Math.sqrt(inputs));
  return about(0, 1 / Math.sqrt(inputs));
}
