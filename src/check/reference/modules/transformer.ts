/** The transformer and its parts, from one attention to the whole model. */
import { toFloat16 } from "../../../files/convert.ts";
import { brief } from "../../../base/brief.ts";
import { ConfigKeys } from "../../../checkpoint/config-keys.ts";
import { CogwheelError } from "../../../base/errors.ts";
import { padTo } from "../../../graph/packing.ts";
import { parseTransformerConfig } from "../../../models/cogvideox/config.ts";
import { blockWeights, transformerWeights } from "../../../models/cogvideox/weights.ts";
import { rotaryTable, type RotaryGrid } from "../../../models/cogvideox/positions.ts";
import { describeSequence, recordBlock, recordTransformer } from "../../../models/cogvideox/forward.ts";
import { attention, batchSegments } from "../../../ops/attention.ts";
import { layerNorm } from "../../../ops/layer_norm.ts";
import { matmul } from "../../../ops/matmul.ts";
import { padColumns } from "../../../ops/pad_columns.ts";
import { qkNormRope } from "../../../ops/qk_norm_rope.ts";
import { silu } from "../../../ops/silu.ts";
import { storedValues } from "../../../run/weight-provider.ts";
import { caseLoras, expectCaseWeights, inputOf } from "../case.ts";
import type { ModuleContext, ReferenceModule } from "../module.ts";
import type { HostTensor, ReferenceCase } from "../reference-case.ts";
import { runOnce } from "../run-once.ts";
import { transformerGuide } from "../trace/transformer.ts";

/** [B, H, S, D] → [H, B·S, D], the engine's layout of heads; and back. */
function byHead({ shape, data }: HostTensor, inverse = false): Float32Array {
  const [b, h, s, d] = shape as [number, number, number, number];
  const out = new Float32Array(data.length);
  for (let i = 0; i < b; i++)
    for (let j = 0; j < h; j++) {
      const [rows, heads] = [(i * h + j) * s * d, (j * b + i) * s * d];
      out.set(data.subarray(inverse ? heads : rows, (inverse ? heads : rows) + s * d), inverse ? rows : heads);
    }
  return out;
}

const scaledDotProductAttention: ReferenceModule = async (c, context) => {
  const [q, k, v] = [inputOf(c, "query", 4), inputOf(c, "key", 4), inputOf(c, "value", 4)];
  agree(c, { query: [q, "bhsd"], key: [k, "bhkd"], value: [v, "bhkd"] });
  const [b, h, s, width] = q.shape as [number, number, number, number];
  const keys = k.shape[2]!;
  const { dtype } = context;
  // Heads of a width that is no multiple of 4 are padded with zeros, which add nothing to a logit.
  const d = padTo(width, 4);
  const rows = (t: HostTensor) => stored(padRows(byHead(t), b * h * t.shape[2]!, width, d), context);
  const inputs = { q: rows(q), k: rows(k), v: rows(v) };
  const out = await runOnce(context, inputs, (g) => ({
    y: attention(g.input("q", [h, b * s, d], dtype), g.input("k", [h, b * keys, d], dtype), g.input("v", [h, b * keys, d], dtype), {
      segments: batchSegments(b, s, keys),
      scale: 1 / Math.sqrt(width),
      dtype,
    }),
  }));
  // [B·S, H·D] → [B, H, S, D]
  const sample = new Float32Array(b * h * s * width);
  for (let i = 0; i < b; i++)
    for (let j = 0; j < h; j++)
      for (let t = 0; t < s; t++) {
        sample.set(out["y"]!.data.subarray(((i * s + t) * h + j) * d, ((i * s + t) * h + j) * d + width), ((i * h + j) * s + t) * width);
      }
  return { sample: { shape: q.shape, data: sample } };
};

/** An input's values as they are stored. */
function stored(data: Float32Array, { dtype }: ModuleContext): ArrayBufferView {
  return dtype === "f32" ? data : toFloat16(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), "F32");
}

/** `get_3d_rotary_pos_embed`'s arguments, as a reference case records them, for `tokens` tokens of width `dim`. */
function rotaryFromArguments(c: ReferenceCase, value: unknown, dim: number, tokens: number): RotaryGrid {
  const fail = (rule: string): never => {
    throw new CogwheelError("reference", `${c.name}: rotary arguments: ${rule}; write those of get_3d_rotary_pos_embed`);
  };
  if (typeof value !== "object" || value === null || Array.isArray(value)) return fail(`must be an object, got ${brief(value)}`);
  const args = value as Record<string, unknown>;
  const pair = (v: unknown, ok: (n: number) => boolean): v is [number, number] =>
    Array.isArray(v) && v.length === 2 && v.every((n) => typeof n === "number" && Number.isFinite(n) && ok(n));
  const { embed_dim, grid_size: size, temporal_size: frames, grid_type: type = "linspace", crops_coords: crops, theta = 10000 } = args;
  const whole = (n: number): boolean => Number.isInteger(n) && n > 0;
  if (embed_dim !== dim || dim % 16)
    fail(`embed_dim must be the head width, a multiple of 16, got ${brief(embed_dim)} for heads of ${dim}`);
  if (!pair(size, whole)) return fail(`grid_size must be two positive whole numbers, got ${brief(size)}`);
  if (typeof frames !== "number" || !whole(frames)) return fail(`temporal_size must be a positive whole number, got ${brief(frames)}`);
  if (frames * size[0] * size[1] !== tokens)
    fail(`temporal_size · grid_size must be the ${tokens} tokens, got ${frames} · ${size[0]} · ${size[1]}`);
  if (typeof theta !== "number" || !(theta > 0 && Number.isFinite(theta)))
    return fail(`theta must be a number above 0, got ${brief(theta)}`);
  const [height, width] = size;
  if (type === "slice") {
    const largest = args["max_size"];
    if (!pair(largest, whole) || largest[0] < height || largest[1] < width) fail(`max_size must hold grid_size, got ${brief(largest)}`);
    return { dim, frames, height, width, crop: null, theta };
  }
  if (type !== "linspace") fail(`grid_type must be linspace or slice, got ${brief(type)}`);
  const corner = (v: unknown): v is [number, number] => pair(v, () => true);
  if (!Array.isArray(crops) || crops.length !== 2 || !corner(crops[0]) || !corner(crops[1]))
    return fail(`crops_coords must be two pairs of numbers, got ${brief(crops)}`);
  return { dim, frames, height, width, crop: [crops[0], crops[1]], theta };
}

/** The scales of a case's adapters: one each, or none for 1. */
export function loraScales(c: ReferenceCase): number[] {
  const scales = c.options["lora"] ?? c.loras.map(() => 1);
  if (Array.isArray(scales) && scales.length === c.loras.length && scales.every((s) => typeof s === "number" && Number.isFinite(s)))
    return scales as number[];
  throw new CogwheelError(
    "reference",
    `${c.name}: options.lora must be a scale for each of ${c.loras.length} adapters, got ${brief(scales)}; correct it`,
  );
}

/** Inputs of one batch: throws unless the axes that `letters` name alike are alike. */
function agree(c: ReferenceCase, shapes: Record<string, readonly [HostTensor, string]>): void {
  const seen = new Map<string, [number, string]>();
  for (const [name, [{ shape }, letters]] of Object.entries(shapes)) {
    shape.forEach((size, axis) => {
      const letter = letters[axis]!;
      const before = seen.get(letter);
      if (before && before[0] !== size)
        throw new CogwheelError(
          "reference",
          `${c.name}: input.${name} must agree with input.${before[1]} on axis ${axis}, ` +
            `${before[0]}, got [${shape.join(", ")}]; make the case again`,
        );
      seen.set(letter, [size, name]);
    });
  }
}

const applyRotaryEmb: ReferenceModule = async (c, context) => {
  const x = inputOf(c, "x", 4);
  const [b, h, s, d] = x.shape as [number, number, number, number];
  const table = rotaryTable(rotaryFromArguments(c, c.options, d, s));
  const out = await runOnce(context, { x: stored(byHead(x), context) }, (g) => {
    const position = g.constant(
      "position",
      Uint32Array.from({ length: b * s }, (_, r) => 1 + (r % s)),
    );
    const heads = g.input("x", [h, b * s, d], context.dtype);
    return { q: qkNormRope(heads, heads, { rope: { table: g.constant("rope", table, [table.length / d, d]), position } }).q };
  });
  return { sample: { shape: x.shape, data: byHead({ shape: x.shape, data: out["q"]!.data }, true) } };
};

const layerNormZero: ReferenceModule = async (c, context) => {
  const [video, text, temb] = [inputOf(c, "hidden_states", 3), inputOf(c, "encoder_hidden_states", 3), inputOf(c, "temb", 2)];
  agree(c, { hidden_states: [video, "bvd"], encoder_hidden_states: [text, "btd"], temb: [temb, "bk"] });
  const [b, v, width] = video.shape as [number, number, number];
  const t = text.shape[1]!;
  // A width that is no multiple of 4 is padded with zeros, the modulation's six parts one by one.
  const d = padTo(width, 4);
  const k = temb.shape[1]!;
  const weights = context.weights();
  const named = (name: string, shape: number[]): [string, number[]][] => (weights.shape(name) ? [[name, shape]] : []);
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
  const padded: ModuleContext = {
    ...context,
    weights: () => ({
      ...weights,
      stored(name) {
        const data = weights.values(name);
        const taps = name.endsWith("weight") ? k : 1;
        return storedValues(name, name.startsWith("norm.") ? padRows(data, 1, width, d) : padRows(data, 6, width * taps, d * taps));
      },
    }),
  };
  const hidden = joinRows(padRows(text.data, b * t, width, d), padRows(video.data, b * v, width, d), b, t * d, v * d);
  const out = await runOnce(padded, { hidden, temb: temb.data }, (g) => {
    const sequence = describeSequence(g, { attention_head_dim: d }, { batch: b, textLength: t, videoTokens: v, rotary: null });
    const bias = weights.shape("linear.bias") ? { bias: g.weight("linear.bias", [6 * d]) } : {};
    const table = g.reshape(matmul(silu(padColumns(g.input("temb", [b, k]))), g.weight("linear.weight", [6 * d, k]), bias), [6 * b, d]);
    const affine = weights.shape("norm.weight") ? { weight: g.weight("norm.weight", [d]), bias: g.weight("norm.bias", [d]) } : {};
    const eps = new ConfigKeys(c.config).number("eps", 1e-5, (e) => e > 0 && e < 1, "");
    return {
      y: layerNorm(g.input("hidden", [b * (t + v), d]), {
        ...affine,
        modulation: { table, rows: sequence.expertRows },
        eps,
        width,
        dtype: context.dtype,
      }),
      table,
    };
  });
  const gate = (offset: number) => {
    const data = new Float32Array(b * width);
    for (let i = 0; i < b; i++) data.set(out["table"]!.data.subarray((i * 6 + offset) * d, (i * 6 + offset) * d + width), i * width);
    return { shape: [b, 1, width], data };
  };
  return {
    hidden_states: takeRows(out["y"]!.data, b, t + v, t, v, d, width),
    encoder_hidden_states: takeRows(out["y"]!.data, b, t + v, 0, t, d, width),
    gate: gate(2),
    enc_gate: gate(5),
  };
};

/** [B, T] and [B, V] rows → [B, T + V]. */
function joinRows(text: Float32Array, video: Float32Array, batch: number, textSize: number, videoSize: number): Float32Array {
  const out = new Float32Array(batch * (textSize + videoSize));
  for (let b = 0; b < batch; b++) {
    out.set(text.subarray(b * textSize, (b + 1) * textSize), b * (textSize + videoSize));
    out.set(video.subarray(b * videoSize, (b + 1) * videoSize), b * (textSize + videoSize) + textSize);
  }
  return out;
}

function padRows<T extends Float32Array | Uint16Array>(data: T, rows: number, width: number, padded: number): T {
  if (width === padded) return data;
  const out = new (data.constructor as new (n: number) => T)(rows * padded);
  for (let r = 0; r < rows; r++) out.set(data.subarray(r * width, (r + 1) * width), r * padded);
  return out;
}

/** Rows [first, first + count) of each of `batch` sequences of `length` rows, without padding columns. */
function takeRows(
  data: Float32Array,
  batch: number,
  length: number,
  first: number,
  count: number,
  stride: number,
  width: number,
): HostTensor {
  const out = new Float32Array(batch * count * width);
  for (let b = 0; b < batch; b++)
    for (let r = 0; r < count; r++) {
      const at = (b * length + first + r) * stride;
      out.set(data.subarray(at, at + width), (b * count + r) * width);
    }
  return { shape: [batch, count, width], data: out };
}

const block: ReferenceModule = async (c, context) => {
  const [video, text, temb] = [inputOf(c, "hidden_states", 3), inputOf(c, "encoder_hidden_states", 3), inputOf(c, "temb", 2)];
  agree(c, { hidden_states: [video, "bvd"], encoder_hidden_states: [text, "btd"], temb: [temb, "bk"] });
  const [b, v, d] = video.shape as [number, number, number];
  const t = text.shape[1]!;
  const args = c.options["rotary"] as Record<string, unknown> | undefined;
  const config = parseTransformerConfig(
    { attention_bias: false, ...c.config, time_embed_dim: temb.shape[1]!, use_rotary_positional_embeddings: args !== undefined },
    c.name,
    "block",
  );
  expectCaseWeights(c, context.weights(), blockWeights(config));
  const hidden = joinRows(text.data, video.data, b, t * d, v * d);
  const prefixed: ModuleContext = { ...context, weights: () => withoutPrefix(context, "block.") };
  const out = await runOnce(
    prefixed,
    { hidden, temb: temb.data },
    (g) => {
      const sequence = describeSequence(g, config, {
        batch: b,
        textLength: t,
        videoTokens: v,
        rotary: args ? rotaryTable(rotaryFromArguments(c, args, config.attention_head_dim, v)) : null,
      });
      return {
        y: recordBlock(
          g,
          config,
          "block",
          g.input("hidden", [b * (t + v), d]),
          silu(padColumns(g.input("temb", [...temb.shape]))),
          sequence,
          context.dtype,
        ),
      };
    },
    transformerGuide("block."),
  );
  return {
    hidden_states: takeRows(out["y"]!.data, b, t + v, t, v, d, d),
    encoder_hidden_states: takeRows(out["y"]!.data, b, t + v, 0, t, d, d),
  };
};

/** Weights of a part of a model, under the name that the whole model would give it. */
function withoutPrefix(context: ModuleContext, prefix: string): ReturnType<ModuleContext["weights"]> {
  const weights = context.weights();
  const inner = (name: string) => (name.startsWith(prefix) ? name.slice(prefix.length) : name);
  return {
    ...weights,
    type: (n) => weights.type(inner(n)),
    stored: (n) => weights.stored(inner(n)),
    values: (n) => weights.values(inner(n)),
    shape: (n) => weights.shape(inner(n)),
  };
}

const transformer: ReferenceModule = async (c, context) => {
  const [latents, text, timestep] = [inputOf(c, "hidden_states", 5), inputOf(c, "encoder_hidden_states", 3), inputOf(c, "timestep", 1)];
  const ofs = c.inputs.has("ofs") ? inputOf(c, "ofs", 1) : undefined;
  const config = parseTransformerConfig(c.config, c.name);
  const batch = latents.shape[0]!;
  const spread = (t: HostTensor) => Float32Array.from({ length: batch }, (_, i) => t.data[i % t.data.length]!);
  if (timestep.data.length !== batch && timestep.data.length !== 1)
    throw new CogwheelError(
      "reference",
      `${c.name}: input.timestep must have one value, or one for each of ${batch}, got ${timestep.data.length}; make the case again`,
    );
  agree(c, { hidden_states: [latents, "bfchw"], encoder_hidden_states: [text, "btd"] });
  expectCaseWeights(c, context.weights(), transformerWeights(config));
  const weights = await caseLoras(c, context.weights(), loraScales(c));
  const out = await runOnce(
    { ...context, weights: () => weights },
    { latents: latents.data, text: text.data, timestep: spread(timestep), ...(ofs ? { ofs: spread(ofs) } : {}) },
    (g) => ({
      sample: recordTransformer(
        g,
        config,
        {
          latents: g.input("latents", latents.shape),
          text: g.input("text", text.shape),
          timestep: g.input("timestep", [batch]),
          ...(ofs ? { ofs: g.input("ofs", [batch]) } : {}),
        },
        context.dtype,
      ),
    }),
    transformerGuide(),
  );
  return { sample: out["sample"]! };
};

export const transformerModules: Record<string, ReferenceModule> = {
  scaled_dot_product_attention: scaledDotProductAttention,
  apply_rotary_emb: applyRotaryEmb,
  CogVideoXLayerNormZero: layerNormZero,
  CogVideoXBlock: block,
  CogVideoXTransformer3DModel: transformer,
};
