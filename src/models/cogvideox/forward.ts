/**
 * The expert transformer of CogVideoX: full attention over text and video tokens in one sequence, with a LayerNorm whose
 * scale, shift and gate come from the timestep and differ between text and video ("expert" AdaLN).
 *
 *   B batch · F latent frames · C, H, W channels, height, width of a latent frame · T text tokens · V video tokens ·
 *   S = T + V · R = B·S rows · N heads · K head width · D = N·K
 *
 * The residual stream is f32 whatever the storage type: it reaches 1e5 in published checkpoints.
 */
import { CogwheelError } from "../../base/errors.ts";
import type { DType } from "../../graph/dtype.ts";
import type { Graph } from "../../graph/graph.ts";
import type { Tensor } from "../../graph/tensor.ts";
import { attention, batchSegments, type AttentionOptions } from "../../ops/attention.ts";
import { joinTokens } from "../../ops/join_tokens.ts";
import { layerNorm } from "../../ops/layer_norm.ts";
import { patchify, unpatchify } from "../../ops/patchify.ts";
import { qkNormRope } from "../../ops/qk_norm_rope.ts";
import { silu } from "../../ops/silu.ts";
import { timestepEmbedding } from "../../ops/timestep_embedding.ts";
import type { TransformerConfig } from "./config.ts";
import { linear, type LiveLoras } from "./linear.ts";
import { rotaryGrid, rotaryTable, sincosTable } from "./positions.ts";

/** Eps of the LayerNorm over each head of q and k; fixed in the reference implementation. */
const QK_EPS = 1e-6;

export interface TransformerInputs {
  /** [n, F, C, H, W] f32; repeated to fill the batch. */
  latents: Tensor;
  /** [n, F, C2, H, W]: an image's or a control video's latents, on channels after those of `latents`. */
  condition?: Tensor;
  /**
   * [B, T, text_embed_dim] f32. Or several, each for a part of the batch: the parts then go through a layer one after another, so that its
   * activations are there for one of them at a time, and a layer's weights once for all. What is beside the text is the same for all parts,
   * and B is a part's.
   */
  text: Tensor | readonly Tensor[];
  /** [B] f32 */
  timestep: Tensor;
  /** [B] f32, for checkpoints with `ofs_embed_dim`. */
  ofs?: Tensor;
}

/** Records the whole model; returns the prediction [B, F, C, H, W] f32, that of several parts one behind the other. */
export function recordTransformer(graph: Graph, c: TransformerConfig, inputs: TransformerInputs, dtype: DType, loras?: LiveLoras): Tensor {
  const { latents, condition, timestep, ofs } = inputs;
  const parts = Array.isArray(inputs.text) ? (inputs.text as readonly Tensor[]) : [inputs.text as Tensor];
  const [text] = parts as [Tensor];
  const [batch, textLength] = text.shape as [number, number, number];
  const [, frames, channels, height, width] = latents.shape as [number, number, number, number, number];
  const d = c.num_attention_heads * c.attention_head_dim;
  const p = c.patch_size;
  const pt = c.patch_size_t ?? 1;
  if (channels + (condition?.dim(2) ?? 0) !== c.in_channels)
    throw new CogwheelError(
      "transformer",
      `latents and condition must have ${c.in_channels} channels in all, got ${channels} and ${condition?.dim(2) ?? 0}`,
    );
  if (parts.some((part) => part.shape.join() !== text.shape.join()))
    throw new CogwheelError("transformer", `the parts of a batch must be alike, got ${parts.join(" and ")}; pad them`);
  if (text.dim(2) !== c.text_embed_dim)
    throw new CogwheelError(
      "transformer",
      `text embeddings must have ${c.text_embed_dim} values, got ${text}; the text encoder belongs to another model`,
    );
  const conditioning = recordConditioning(graph, c, timestep, ofs, loras);
  let hidden = graph.scope("patch_embed", () => {
    // In f32 whatever the storage type: the latents are the caller's, and the projection is a thousandth of the model's work.
    const patches = patchify(latents, { patchSize: p, patchSizeT: pt, batch, ...(condition ? { extra: condition } : {}) });
    const video = recordPatchProjection(graph, c, patches, loras);
    const position = positionTable(graph, c, textLength, frames, height, width);
    return parts.map((part) => joinTokens(recordTextProjection(graph, c, part, loras), video, position));
  });
  const videoTokens = hidden[0]!.dim(1) - textLength;
  const sequence = describeSequence(graph, c, {
    batch,
    textLength,
    videoTokens,
    rotary: c.use_rotary_positional_embeddings ? rotaryTable(rotaryGrid(c, frames, height, width)) : null,
  });

  hidden = hidden.map((part) => graph.reshape(part, [batch * (textLength + videoTokens), d]));
  for (let i = 0; i < c.num_layers; i++) {
    hidden = graph.scope(`transformer_blocks.${i}`, () =>
      hidden.map((part) => recordBlock(graph, c, `transformer_blocks.${i}`, part, conditioning, sequence, dtype, loras)),
    );
  }

  const predictions = hidden.map((part) => {
    const tokens = recordOutput(graph, c, part, conditioning, sequence, { batch, videoTokens }, dtype, loras);
    return unpatchify(tokens, { patchSize: p, patchSizeT: pt, channels: c.out_channels, frames, height, width });
  });
  return predictions.reduce((before, one) => behind(graph, before, one));
}

/** silu of what a timestep is embedded as, and ofs where the model has it: timestep, ofs [B] f32 → [B, time_embed_dim]. */
export function recordConditioning(
  graph: Graph,
  c: TransformerConfig,
  timestep: Tensor,
  ofs: Tensor | undefined,
  loras?: LiveLoras,
): Tensor {
  if (!ofs !== (c.ofs_embed_dim === null))
    throw new CogwheelError("transformer", `ofs must be given exactly when the config has ofs_embed_dim, got ${c.ofs_embed_dim}`);
  const d = c.num_attention_heads * c.attention_head_dim;
  const embed = (name: string, x: Tensor, inner: number, out: number, residual?: Tensor) => {
    const hidden = linear(graph, x, `${name}.linear_1`, [out, inner], { activation: "silu" }, loras);
    return linear(graph, hidden, `${name}.linear_2`, [out, out], residual ? { residual } : {}, loras);
  };
  const sinusoid = { flipSinToCos: c.flip_sin_to_cos, freqShift: c.freq_shift };
  return graph.scope("time_embedding", () => {
    const ofsEmbedding =
      ofs && embed("ofs_embedding", timestepEmbedding(ofs, { dim: c.ofs_embed_dim!, ...sinusoid }), c.ofs_embed_dim!, c.ofs_embed_dim!);
    return silu(embed("time_embedding", timestepEmbedding(timestep, { dim: d, ...sinusoid }), d, c.time_embed_dim, ofsEmbedding));
  });
}

/** patches [..., C·pt·p·p] → [..., D]. */
export function recordPatchProjection(graph: Graph, c: TransformerConfig, patches: Tensor, loras?: LiveLoras): Tensor {
  const d = c.num_attention_heads * c.attention_head_dim;
  // A convolution of its stride where a patch has one frame, else a Linear, which has a bias whatever patch_bias says.
  const projection =
    c.patch_size_t === null ? { bias: c.patch_bias, published: [d, c.in_channels, c.patch_size, c.patch_size] } : { bias: true };
  return linear(graph, patches, "patch_embed.proj", [d, patches.dim(-1)], projection, loras);
}

/** text [..., text_embed_dim] → [..., D]. */
export function recordTextProjection(graph: Graph, c: TransformerConfig, text: Tensor, loras?: LiveLoras): Tensor {
  const d = c.num_attention_heads * c.attention_head_dim;
  return linear(graph, text, "patch_embed.text_proj", [d, c.text_embed_dim], {}, loras);
}

/** What follows the last block: hidden [R, D] f32 → [B, V, out], a patch a token. */
function recordOutput(
  graph: Graph,
  c: TransformerConfig,
  hidden: Tensor,
  conditioning: Tensor,
  sequence: SampleSequence,
  { batch, videoTokens }: { batch: number; videoTokens: number },
  dtype: DType,
  loras?: LiveLoras,
): Tensor {
  const d = c.num_attention_heads * c.attention_head_dim;
  const final = layerNorm(hidden, { ...affine(graph, c, "norm_final", d), source: sequence.videoRows, eps: c.norm_eps });
  const rows = graph.scope("norm_out", () =>
    graph.constant(
      "norm_out.rows",
      Uint32Array.from({ length: batch * videoTokens }, (_, r) => 2 * Math.floor(r / videoTokens)),
    ),
  );
  const tokens = recordProjection(graph, c, final, conditioning, rows, dtype, loras);
  return graph.reshape(tokens, [batch, videoTokens, tokens.dim(-1)]);
}

/**
 * What follows the last norm: final [V, D] f32, the video tokens → [V, out_channels·pt·p·p padded to a multiple of 4] f32.
 * @param rows u32 [V]: a token's row of shift in a table [2B, D] of shift and scale
 */
export function recordProjection(
  graph: Graph,
  c: TransformerConfig,
  final: Tensor,
  conditioning: Tensor,
  rows: Tensor,
  dtype: DType,
  loras?: LiveLoras,
): Tensor {
  const d = c.num_attention_heads * c.attention_head_dim;
  const modulated = graph.scope("norm_out", () => {
    const table = linear(graph, conditioning, "norm_out.linear", [2 * d, c.time_embed_dim], {}, loras);
    return layerNorm(final, {
      ...affine(graph, c, "norm_out.norm", d),
      modulation: { table: graph.reshape(table, [2 * conditioning.dim(0), d]), rows },
      eps: c.norm_eps,
      dtype,
    });
  });
  const out = c.out_channels * (c.patch_size_t ?? 1) * c.patch_size ** 2;
  return graph.scope("proj_out", () => linear(graph, modulated, "proj_out", [out, d], {}, loras));
}

/** [A, …] and [B, …] as [A + B, …], in f32. */
function behind(graph: Graph, first: Tensor, second: Tensor): Tensor {
  const row = first.dim(-1) % 4 === 0 ? first.dim(-1) : first.size / first.dim(0);
  const rows = (tensor: Tensor): Tensor => graph.reshape(tensor, [1, tensor.size / row, row]);
  return graph.reshape(joinTokens(rows(first), rows(second)), [first.dim(0) + second.dim(0), ...first.shape.slice(1)]);
}

/** What every block must know of the sequence; made once. */
export interface Sequence {
  /** Samples, or clips of a pack: each has its rows in the tables of shifts, scales and gates. */
  readonly batch: number;
  /** Which tokens see which: those of a sample, or of a clip, each other. */
  readonly segments: AttentionOptions["segments"] & {};
  /** [R]: a token's first row in a [6B, D] table of shift, scale, gate for video, then for text. */
  readonly expertRows: Tensor;
  /** [R]: the same, for the gate. */
  readonly gateRows: Tensor;
  readonly rope?: { table: Tensor; position: Tensor };
}

/** A sequence of samples of one size. */
export interface SampleSequence extends Sequence {
  /** [B·V]: the rows of video tokens. */
  readonly videoRows: Tensor;
}

export function describeSequence(
  graph: Graph,
  c: Pick<TransformerConfig, "attention_head_dim">,
  s: { batch: number; textLength: number; videoTokens: number; rotary: Float32Array | null },
): SampleSequence {
  const length = s.textLength + s.videoTokens;
  const rows = <T>(f: (b: number, i: number) => T) =>
    Array.from({ length: s.batch * length }, (_, r) => f(Math.floor(r / length), r % length));
  const expert = (offset: number) => Uint32Array.from(rows((b, i) => b * 6 + (i < s.textLength ? 3 : 0) + offset));
  const k = c.attention_head_dim;
  const rope = s.rotary && {
    table: graph.constant("rope", s.rotary, [s.rotary.length / k, k]),
    position: graph.constant("rope.position", Uint32Array.from(rows((_, i) => (i < s.textLength ? 0 : 1 + i - s.textLength)))),
  };
  return {
    batch: s.batch,
    segments: batchSegments(s.batch, length),
    expertRows: graph.constant("expert.rows", expert(0)),
    gateRows: graph.constant("gate.rows", expert(2)),
    videoRows: graph.constant(
      "video.rows",
      Uint32Array.from(rows((b, i) => (i < s.textLength ? -1 : b * length + i)).filter((r) => r >= 0)),
    ),
    ...(rope ? { rope } : {}),
  };
}

/**
 * One block: hidden [R, D] f32, conditioning [B, time_embed_dim] = silu(temb) → [R, D] f32.
 */
export function recordBlock(
  graph: Graph,
  c: TransformerConfig,
  name: string,
  hidden: Tensor,
  conditioning: Tensor,
  sequence: Sequence,
  dtype: DType,
  loras?: LiveLoras,
): Tensor {
  const d = c.num_attention_heads * c.attention_head_dim;
  const expert = (norm: "norm1" | "norm2") =>
    graph.reshape(linear(graph, conditioning, `${name}.${norm}.linear`, [6 * d, c.time_embed_dim], {}, loras), [6 * sequence.batch, d]);

  const attended = graph.scope("attn1", () => {
    const table = expert("norm1");
    const x = layerNorm(hidden, {
      ...affine(graph, c, `${name}.norm1.norm`, d),
      modulation: { table, rows: sequence.expertRows },
      eps: c.norm_eps,
      dtype,
    });
    const byHead = (n: string) =>
      linear(graph, x, `${name}.attn1.${n}`, [d, d], { bias: c.attention_bias, heads: c.attention_head_dim, dtype }, loras);
    const v = byHead("to_v");
    const headNorm = (n: string) =>
      graph.reshape(graph.weight([`${name}.attn1.${n}.weight`, `${name}.attn1.${n}.bias`], [2 * c.attention_head_dim]), [
        2,
        c.attention_head_dim,
      ]);
    const { q, k } = qkNormRope(byHead("to_q"), byHead("to_k"), {
      norm: { q: headNorm("norm_q"), k: headNorm("norm_k"), eps: QK_EPS },
      ...(sequence.rope ? { rope: sequence.rope } : {}),
    });
    const mixed = attention(q, k, v, { segments: sequence.segments, dtype });
    return linear(graph, mixed, `${name}.attn1.to_out.0`, [d, d], { gate: { table, rows: sequence.gateRows }, residual: hidden }, loras);
  });

  return graph.scope("ff", () => {
    const table = expert("norm2");
    const x = layerNorm(attended, {
      ...affine(graph, c, `${name}.norm2.norm`, d),
      modulation: { table, rows: sequence.expertRows },
      eps: c.norm_eps,
      dtype,
    });
    const inner = linear(graph, x, `${name}.ff.net.0.proj`, [4 * d, d], { activation: "gelu", dtype }, loras);
    return linear(graph, inner, `${name}.ff.net.2`, [d, 4 * d], { gate: { table, rows: sequence.gateRows }, residual: attended }, loras);
  });
}

export function affine(
  graph: Graph,
  c: Pick<TransformerConfig, "norm_elementwise_affine">,
  name: string,
  d: number,
): { weight?: Tensor; bias?: Tensor } {
  return c.norm_elementwise_affine ? { weight: graph.weight(`${name}.weight`, [d]), bias: graph.weight(`${name}.bias`, [d]) } : {};
}

/** The table of learned positions, for the config's own size: [T + F·h·w, D]. */
export function learnedPositions(graph: Graph, c: TransformerConfig): Tensor {
  const d = c.num_attention_heads * c.attention_head_dim;
  const frames = Math.floor((c.sample_frames - 1) / c.temporal_compression_ratio) + 1;
  const tokens = frames * Math.floor(c.sample_height / c.patch_size) * Math.floor(c.sample_width / c.patch_size);
  const rows = c.max_text_seq_length + tokens;
  return graph.reshape(graph.weight("patch_embed.pos_embedding", [1, rows, d], "f32"), [rows, d]);
}

/** Positions that are added to the sequence: sin-cos (2B), learned (5B-I2V), or none (rotary alone). */
function positionTable(
  graph: Graph,
  c: TransformerConfig,
  textLength: number,
  frames: number,
  height: number,
  width: number,
): Tensor | undefined {
  const d = c.num_attention_heads * c.attention_head_dim;
  if (c.use_rotary_positional_embeddings && !c.use_learned_positional_embeddings) return undefined;
  if (textLength !== c.max_text_seq_length)
    throw new CogwheelError(
      "transformer",
      `this model's positions want ${c.max_text_seq_length} text tokens, got ${textLength}; pad the text`,
    );
  const [gh, gw] = [Math.floor(height / c.patch_size), Math.floor(width / c.patch_size)];
  if (c.use_learned_positional_embeddings) {
    if (height !== c.sample_height || width !== c.sample_width)
      throw new CogwheelError(
        "transformer",
        `this model's learned positions fix the latent size to ${c.sample_height} × ${c.sample_width}, ` +
          `got ${height} × ${width}; choose that size`,
      );
    // Another number of frames falls back to the sin-cos table, as the reference implementation does.
    if ((frames - 1) * c.temporal_compression_ratio + 1 === c.sample_frames) {
      return learnedPositions(graph, c);
    }
  }
  return graph.constant("pos_embedding", sincosTable(c, textLength, frames, gh, gw), [textLength + frames * gh * gw, d]);
}
