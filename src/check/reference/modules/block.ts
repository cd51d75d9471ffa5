/** A block of the transformer, and the norm that it begins with. */
import { ConfigKeys } from "../../../checkpoint/config-keys.ts";
import { padTo } from "../../../graph/packing.ts";
import { parseTransformerConfig } from "../../../models/cogvideox/config.ts";
import { describeSequence, recordBlock } from "../../../models/cogvideox/forward.ts";
import { rotaryTable } from "../../../models/cogvideox/positions.ts";
import { blockWeights } from "../../../models/cogvideox/weights.ts";
import { layerNorm } from "../../../ops/layer_norm.ts";
import { matmul } from "../../../ops/matmul.ts";
import { padColumns } from "../../../ops/pad_columns.ts";
import { silu } from "../../../ops/silu.ts";
import { agree, expectCaseWeights, inputOf } from "../case.ts";
import { Layout } from "../layout.ts";
import type { ReferenceModule } from "../module.ts";
import { runOnce } from "../run-once.ts";
import { transformerGuide } from "../trace/transformer.ts";
import { rotaryFromArguments } from "./rotary-arguments.ts";

interface SequenceShape {
  readonly b: number;
  /** Text and video tokens. */
  readonly t: number;
  readonly v: number;
  readonly width: number;
  /** Columns in the engine. */
  readonly d: number;
}

/** Text [B, T, C] and video [B, V, C] as rows [B·(T + V), D] of one sequence after another. */
function sequenceOf({ b, t, v, width, d }: SequenceShape, prefix = ""): Layout {
  const part = (tokens: number, first: number) => ({
    shape: [b, tokens, width],
    at: ([i, token, c]: readonly number[]) => (i! * (t + v) + first + token!) * d + c!,
  });
  return new Layout([b * (t + v), d], { [`${prefix}hidden_states`]: part(v, t), [`${prefix}encoder_hidden_states`]: part(t, 0) });
}

const layerNormZero: ReferenceModule = async (c, context) => {
  const [video, text, temb] = [inputOf(c, "hidden_states", 3), inputOf(c, "encoder_hidden_states", 3), inputOf(c, "temb", 2)];
  agree(c, { hidden_states: [video, "bvd"], encoder_hidden_states: [text, "btd"], temb: [temb, "bk"] });
  const [b, v, width] = video.shape as [number, number, number];
  // A width that is no multiple of 4 is padded with zeros, the modulation's six parts one by one.
  const shape = { b, t: text.shape[1]!, v, width, d: padTo(width, 4) };
  const { d, t } = shape;
  const k = temb.shape[1]!;
  const weights = context.weights();
  const named = (name: string, of: number[]): [string, number[]][] => (weights.shape(name) ? [[name, of]] : []);
  expectCaseWeights(
    c,
    weights,
    new Map([
      ["linear.weight", [6 * width, k]],
      ...named("linear.bias", [6 * width]),
      ...named("norm.weight", [width]),
      ...(weights.shape("norm.weight") ? [["norm.bias", [width]] as [string, number[]]] : []),
    ]),
  );
  const padded = (row: number): number => Math.floor(row / width) * d + (row % width);
  const eps = new ConfigKeys(c.config).number("eps", 1e-5, (e) => e > 0 && e < 1, "");
  // Of each six parts of the table: shift, scale and gate of the video, then of the text.
  const gate = (part: number) => ({ shape: [b, 1, width], at: ([i, , x]: readonly number[]) => (i! * 6 + part) * d + x! });
  return runOnce(c, context, {
    inputs: { hidden: sequenceOf(shape, "input."), temb: Layout.inOrder("input.temb", [b, k]) },
    outputs: { normed: sequenceOf(shape), table: new Layout([6 * b, d], { gate: gate(2), enc_gate: gate(5) }) },
    weight: (name) =>
      ({
        "linear.weight": new Layout([6 * d, k], {
          "weight.linear.weight": { shape: [6 * width, k], at: ([row, x]) => padded(row!) * k + x! },
        }),
        "linear.bias": new Layout([6 * d], { "weight.linear.bias": { shape: [6 * width], at: ([row]) => padded(row!) } }),
        "norm.weight": new Layout([d], { "weight.norm.weight": { shape: [width] } }),
        "norm.bias": new Layout([d], { "weight.norm.bias": { shape: [width] } }),
      })[name],
    build: (g, { hidden, temb: embedding }) => {
      const sequence = describeSequence(g, { attention_head_dim: d }, { batch: b, textLength: t, videoTokens: v, rotary: null });
      const bias = weights.shape("linear.bias") ? { bias: g.weight("linear.bias", [6 * d]) } : {};
      const table = g.reshape(matmul(silu(padColumns(embedding!)), g.weight("linear.weight", [6 * d, k]), bias), [6 * b, d]);
      const affine = weights.shape("norm.weight") ? { weight: g.weight("norm.weight", [d]), bias: g.weight("norm.bias", [d]) } : {};
      const modulation = { table, rows: sequence.expertRows };
      return { normed: layerNorm(hidden!, { ...affine, modulation, eps, width, dtype: context.dtype }), table };
    },
  });
};

const block: ReferenceModule = async (c, context) => {
  const [video, text, temb] = [inputOf(c, "hidden_states", 3), inputOf(c, "encoder_hidden_states", 3), inputOf(c, "temb", 2)];
  agree(c, { hidden_states: [video, "bvd"], encoder_hidden_states: [text, "btd"], temb: [temb, "bk"] });
  const [b, v, d] = video.shape as [number, number, number];
  const shape = { b, t: text.shape[1]!, v, width: d, d };
  const args = c.options["rotary"] as Record<string, unknown> | undefined;
  const config = parseTransformerConfig(
    { attention_bias: false, ...c.config, time_embed_dim: temb.shape[1]!, use_rotary_positional_embeddings: args !== undefined },
    c.name,
    "block",
  );
  expectCaseWeights(c, context.weights(), blockWeights(config));
  const rotary = args ? rotaryTable(rotaryFromArguments(c, args, config.attention_head_dim, v)) : null;
  return runOnce(c, context, {
    inputs: { hidden: sequenceOf(shape, "input."), temb: Layout.inOrder("input.temb", temb.shape) },
    outputs: { hidden: sequenceOf(shape) },
    prefix: "block.",
    guide: transformerGuide("block."),
    build: (g, { hidden, temb: embedding }) => {
      const sequence = describeSequence(g, config, { batch: b, textLength: shape.t, videoTokens: v, rotary });
      return { hidden: recordBlock(g, config, "block", hidden!, silu(padColumns(embedding!)), sequence, context.dtype) };
    },
  });
};

export const blockModules: Record<string, ReferenceModule> = { CogVideoXLayerNormZero: layerNormZero, CogVideoXBlock: block };
