/** A transformer block, a block of T5 and the VAE decoder as ONNX: node for node what torch.onnx makes of the reference implementation. */
import { draw, permute, type BenchCase } from "../../cases/case.ts";
import type { BlockSizes, DecoderSizes, T5Sizes } from "../../cases/modules.ts";
import { parseVaeConfig, temporalLevels } from "../../../src/models/vae/config.ts";
import { causalConv, groupNorm, plainAttention, silu, type OnnxVariant } from "./graphs.ts";
import { OnnxModel } from "./model.ts";

export function blockVariants(c: BenchCase<"block", BlockSizes>): Record<string, () => OnnxVariant> {
  const make = (fused: boolean) => (): OnnxVariant => block(c, fused);
  return { "MultiHeadAttention (com.microsoft)": make(true), "MatMul, Softmax, MatMul": make(false) };
}

function block(c: BenchCase<"block", BlockSizes>, fused: boolean): OnnxVariant {
  const { heads, headWidth: width, text: textTokens, video: videoTokens, timeWidth } = c.sizes;
  const [d, length] = [heads * width, textTokens + videoTokens];
  const model = new OnnxModel();
  const weight = (name: string) => model.weight(name, c.weights[name]!.shape, draw(c.weights[name]!));
  const prefix = "transformer_blocks.0";
  /** A Linear of torch: MatMul with the transposed weight, Add. */
  const linear = (x: string, name: string): string => {
    const spec = c.weights[`${name}.weight`]!;
    const w = model.weight(`${name}.weight`, [spec.shape[1]!, spec.shape[0]!], permute(draw(spec), spec.shape, [1, 0]));
    return model.node("Add", [model.node("MatMul", [x, w]), weight(`${name}.bias`)]);
  };
  const layerNorm = (x: string, name: string, eps: number) =>
    model.node("LayerNormalization", [x, weight(`${name}.weight`), weight(`${name}.bias`)], { axis: -1, epsilon: { float: eps } });
  const cut = (x: string, axis: number, from: number, to: number) =>
    model.node("Slice", [x, model.ints([from]), model.ints([to]), model.ints([axis])]);
  const one = model.weight("one", [1], Float32Array.of(1));

  let text = model.input("text", [1, textTokens, d]);
  let video = model.input("video", [1, videoTokens, d]);
  const conditioning = model.input("conditioning", [1, timeWidth]);

  /** norm1 and norm2: shift, scale and gate for video, then for text, from the timestep. */
  const expertNorm = (name: string) => {
    const table = model.node("Reshape", [linear(conditioning, `${name}.linear`), model.ints([1, 1, 6 * d])]);
    const [shift, scale, gate, textShift, textScale, textGate] = model.split(table, 6, 2);
    const modulate = (x: string, s: string, b: string) =>
      model.node("Add", [model.node("Mul", [layerNorm(x, `${name}.norm`, 1e-5), model.node("Add", [s, one])]), b]);
    return { video: modulate(video, scale!, shift!), text: modulate(text, textScale!, textShift!), gate: gate!, textGate: textGate! };
  };
  const joined = (parts: { text: string; video: string }) => model.node("Concat", [parts.text, parts.video], { axis: 1 });
  /** Adds the gated update to both streams. */
  const advance = (update: string, { gate, textGate }: { gate: string; textGate: string }) => {
    video = model.node("Add", [video, model.node("Mul", [cut(update, 1, textTokens, length), gate])]);
    text = model.node("Add", [text, model.node("Mul", [cut(update, 1, 0, textTokens), textGate])]);
  };

  const first = expertNorm(`${prefix}.norm1`);
  const x = joined(first);
  const projected = (name: string) => linear(x, `${prefix}.attn1.${name}`);
  /** LayerNorm over each head. */
  const headNorm = (y: string, name: string) => {
    const split = model.node("Reshape", [y, model.ints([1, length, heads, width])]);
    return model.node("Reshape", [layerNorm(split, `${prefix}.attn1.${name}`, 1e-6), model.ints([1, length, d])]);
  };
  const [q, k, v] = [headNorm(projected("to_q"), "norm_q"), headNorm(projected("to_k"), "norm_k"), projected("to_v")];
  const mixed = fused
    ? model.node("MultiHeadAttention", [q, k, v], { num_heads: heads }, "com.microsoft")
    : plainAttention(model, q, k, v, { heads, length, width });
  advance(linear(mixed, `${prefix}.attn1.to_out.0`), first);

  const second = expertNorm(`${prefix}.norm2`);
  const inner = model.node("FastGelu", [linear(joined(second), `${prefix}.ff.net.0.proj`)], {}, "com.microsoft");
  advance(linear(inner, `${prefix}.ff.net.2`), second);

  const output = model.node("Concat", [text, video], { axis: 1 });
  model.output(output, [1, length, d]);
  const inputs = {
    text: { shape: [1, textTokens, d], data: draw(c.inputs["text"]!) },
    video: { shape: [1, videoTokens, d], data: draw(c.inputs["video"]!) },
    conditioning: { shape: [1, timeWidth], data: draw(c.inputs["conditioning"]!) },
  };
  return { model, output, inputs };
}

export function t5Variants(c: BenchCase<"t5_block", T5Sizes>): Record<string, () => OnnxVariant> {
  return { "MatMul, Softmax, MatMul": () => t5Block(c) };
}

function t5Block(c: BenchCase<"t5_block", T5Sizes>): OnnxVariant {
  const { heads, headWidth: width, tokens } = c.sizes;
  const d = heads * width;
  const model = new OnnxModel();
  const scalar = (name: string, value: number) => model.weight(name, [1], Float32Array.of(value));
  /** A Linear without a bias: MatMul with the transposed weight. */
  const linear = (x: string, name: string): string => {
    const spec = c.weights[`${name}.weight`]!;
    return model.node("MatMul", [
      x,
      model.weight(`${name}.weight`, [spec.shape[1]!, spec.shape[0]!], permute(draw(spec), spec.shape, [1, 0])),
    ]);
  };
  const rmsNorm = (x: string, name: string): string => {
    const mean = model.node("ReduceMean", [model.node("Pow", [x, scalar("two", 2)]), model.ints([-1])], { keepdims: 1 });
    const deviation = model.node("Sqrt", [model.node("Add", [mean, scalar("eps", 1e-6)])]);
    return model.node("Mul", [model.weight(`${name}.weight`, [d], draw(c.weights[`${name}.weight`]!)), model.node("Div", [x, deviation])]);
  };
  const hidden = model.input("hidden", [1, tokens, d]);
  const bias = model.input("bias", [1, heads, tokens, tokens]);

  const attend = "encoder.block.0.layer.0";
  const x = rmsNorm(hidden, `${attend}.layer_norm`);
  const split = (name: string, perm: readonly number[]) =>
    model.node(
      "Transpose",
      [model.node("Reshape", [linear(x, `${attend}.SelfAttention.${name}`), model.ints([1, tokens, heads, width])])],
      { perm },
    );
  const scores = model.node("Add", [model.node("MatMul", [split("q", [0, 2, 1, 3]), split("k", [0, 2, 3, 1])]), bias]);
  const mixed = model.node("MatMul", [model.node("Softmax", [scores], { axis: -1 }), split("v", [0, 2, 1, 3])]);
  const rows = model.node("Reshape", [model.node("Transpose", [mixed], { perm: [0, 2, 1, 3] }), model.ints([1, tokens, d])]);
  const attended = model.node("Add", [hidden, linear(rows, `${attend}.SelfAttention.o`)]);

  const feed = "encoder.block.0.layer.1";
  const z = rmsNorm(attended, `${feed}.layer_norm`);
  const gated = model.node("Mul", [
    model.node("FastGelu", [linear(z, `${feed}.DenseReluDense.wi_0`)], {}, "com.microsoft"),
    linear(z, `${feed}.DenseReluDense.wi_1`),
  ]);
  const output = model.node("Add", [attended, linear(gated, `${feed}.DenseReluDense.wo`)]);
  model.output(output, c.output);

  const distances = draw(c.inputs["bias"]!);
  const pairs = Float32Array.from({ length: heads * tokens * tokens }, (_, i) => {
    const [head, query, key] = [Math.floor(i / (tokens * tokens)), Math.floor(i / tokens) % tokens, i % tokens];
    return distances[head * (2 * tokens - 1) + key - query + tokens - 1]!;
  });
  return {
    model,
    output,
    inputs: {
      hidden: { shape: [1, tokens, d], data: draw(c.inputs["hidden"]!) },
      bias: { shape: [1, heads, tokens, tokens], data: pairs },
    },
  };
}

export function decoderVariants(c: BenchCase<"vae_decoder", DecoderSizes>): Record<string, () => OnnxVariant> {
  return { NHWC: () => decoder(c, "NHWC"), NCHW: () => decoder(c, "NCHW") };
}

/** A tensor and its shape [1, C, T, H, W]. */
interface Video {
  readonly name: string;
  readonly shape: readonly [number, number, number, number, number];
}

/** Two latent frames, so that no frame of an odd number stands alone when frames are doubled. */
function decoder(c: BenchCase<"vae_decoder", DecoderSizes>, layout: "NCHW" | "NHWC"): OnnxVariant {
  const config = parseVaeConfig({});
  if (c.sizes.frames % 2) throw new Error("an even number of latent frames");
  const model = new OnnxModel();
  const weight = (name: string) => model.weight(name, c.weights[name]!.shape, draw(c.weights[name]!));
  const shape = c.inputs["z"]!.shape as Video["shape"];
  const z: Video = { name: model.input("z", shape), shape };
  const nearest = (name: string, sizes: readonly number[]) =>
    model.node("Resize", [name, "", "", model.ints(sizes)], {
      mode: "nearest",
      nearest_mode: "floor",
      coordinate_transformation_mode: "asymmetric",
    });

  const conv = (x: Video, prefix: string): Video => {
    const [out, , taps] = c.weights[`${prefix}.weight`]!.shape as [number, number, number];
    return {
      name: causalConv(model, x.name, weight(`${prefix}.weight`), weight(`${prefix}.bias`), taps, taps === 1 ? 0 : 1),
      shape: [1, out, x.shape[2], x.shape[3], x.shape[4]],
    };
  };
  /** CogVideoXSpatialNorm3D, then SiLU. */
  const norm = (x: Video, prefix: string): Video => {
    const zq: Video = {
      name: nearest(z.name, [1, config.latent_channels, ...x.shape.slice(2)]),
      shape: [1, config.latent_channels, x.shape[2], x.shape[3], x.shape[4]],
    };
    const part = (name: string) => ({ name: `${prefix}.norm_layer.${name}`, data: draw(c.weights[`${prefix}.norm_layer.${name}`]!) });
    const normed = groupNorm(model, x.name, x.shape, config.norm_num_groups, 1e-6, part("weight"), part("bias"));
    const scaled = model.node("Mul", [normed, conv(zq, `${prefix}.conv_y.conv`).name]);
    return { name: silu(model, model.node("Add", [scaled, conv(zq, `${prefix}.conv_b.conv`).name])), shape: x.shape };
  };
  const resnet = (x: Video, prefix: string): Video => {
    const h = conv(norm(conv(norm(x, `${prefix}.norm1`), `${prefix}.conv1.conv`), `${prefix}.norm2`), `${prefix}.conv2.conv`);
    const shortcut = h.shape[1] === x.shape[1] ? x.name : conv(x, `${prefix}.conv_shortcut`).name;
    return { name: model.node("Add", [shortcut, h.name]), shape: h.shape };
  };
  /** Doubles rows and columns, and frames too on the first levels; then a convolution in space, frame by frame. */
  const upsample = (x: Video, prefix: string, frames: boolean): Video => {
    const [, ch, t, h, w] = x.shape;
    const to = [1, ch, frames ? 2 * t : t, 2 * h, 2 * w] as const;
    const frameByFrame = (name: string) =>
      model.node("Reshape", [model.node("Transpose", [name], { perm: [0, 2, 1, 3, 4] }), model.ints([to[2], ch, -1, frames ? to[4] : w])]);
    const large = frames ? frameByFrame(nearest(x.name, to)) : nearest(frameByFrame(x.name), [t, ch, 2 * h, 2 * w]);
    const y = model.node("Conv", [large, weight(`${prefix}.weight`), weight(`${prefix}.bias`)], { pads: [1, 1, 1, 1] });
    return {
      name: model.node("Transpose", [model.node("Reshape", [y, model.ints([1, to[2], ch, to[3], to[4]])])], { perm: [0, 2, 1, 3, 4] }),
      shape: to,
    };
  };

  let h = conv(z, "decoder.conv_in.conv");
  for (let j = 0; j < 2; j++) h = resnet(h, `decoder.mid_block.resnets.${j}`);
  for (let i = 0; i < config.block_out_channels.length; i++) {
    for (let j = 0; j <= config.layers_per_block; j++) h = resnet(h, `decoder.up_blocks.${i}.resnets.${j}`);
    if (i < config.block_out_channels.length - 1) h = upsample(h, `decoder.up_blocks.${i}.upsamplers.0.conv`, i < temporalLevels(config));
  }
  const y = conv(norm(h, "decoder.norm_out"), "decoder.conv_out.conv");
  model.output(y.name, c.output);
  return { model, output: y.name, layout, inputs: { z: { shape, data: draw(c.inputs["z"]!) } } };
}
