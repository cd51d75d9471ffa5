/** Which matrices of a component are quantized, and which stay as they are. */

export const QUANTIZABLE = ["transformer", "text_encoder"] as const;
export type Quantizable = (typeof QUANTIZABLE)[number];

/**
 * Weights that stay as they are unless told otherwise, by parts of their names: what a prompt, a timestep or a patch comes in by and goes
 * out by, and the modulation of every block, which all of its tokens are multiplied with. They are few, and their errors spread widest.
 */
export const KEPT: Readonly<Record<Quantizable, readonly string[]>> = {
  transformer: ["patch_embed", "time_embedding", "ofs_embedding", "norm1.linear", "norm2.linear", "norm_out", "proj_out"],
  text_encoder: ["relative_attention_bias"],
};

/** Tables, whose rows are looked up: quantized in a file they are fewer bytes, and on the device nobody multiplies with them. */
export const TABLES = ["shared", "embed_tokens"] as const;

/** Has a name this part, between dots? */
export const hasPart = (name: string, part: string): boolean => `.${name}.`.includes(`.${part}.`);
