/**
 * Each kind of case as ONNX. Where ONNX has several ways to say a thing, all are given by name: the fastest that is right
 * stands for ONNX Runtime.
 */
import { draw, permute, type BenchCase } from "../../cases/case.ts";
import type { AdaLnSizes, AttentionSizes, ConvSizes, GroupNormSizes, MatmulSizes } from "../../cases/figures.ts";
import { OnnxModel } from "./model.ts";

export interface OnnxVariant {
  readonly model: OnnxModel;
  readonly inputs: Record<string, { shape: readonly number[]; data: Float32Array }>;
  readonly output: string;
  /** The result in the reference's layout. */
  readonly read?: (y: Float32Array) => Float32Array;
  readonly layout?: "NCHW" | "NHWC";
}
type Variants = Record<string, () => OnnxVariant>;

const MS = "com.microsoft";
const transposed = (c: BenchCase, name: string): Float32Array => permute(draw(c.weights[name]!), c.weights[name]!.shape, [1, 0]);

export function matmulVariants(c: BenchCase<"matmul", MatmulSizes>): Variants {
  const { m, k, n } = c.sizes;
  return {
    MatMul: () => {
      const model = new OnnxModel();
      const x = model.input("x", [m, k]);
      const output = model.node("MatMul", [x, model.weight("w", [k, n], transposed(c, "w"))]);
      model.output(output, c.output);
      return { model, output, inputs: { x: { shape: [m, k], data: draw(c.inputs["x"]!) } } };
    },
  };
}

export function attentionVariants(c: BenchCase<"attention", AttentionSizes>): Variants {
  const { heads, length, width } = c.sizes;
  const shape = [1, length, heads * width];
  // [N, S, D] → [S, N·D]
  const rows = () =>
    Object.fromEntries(
      ["q", "k", "v"].map((name) => [name, { shape, data: permute(draw(c.inputs[name]!), c.inputs[name]!.shape, [1, 0, 2]) }]),
    );
  return {
    "MultiHeadAttention (com.microsoft)": () => {
      const model = new OnnxModel();
      const output = model.node(
        "MultiHeadAttention",
        ["q", "k", "v"].map((name) => model.input(name, shape)),
        { num_heads: heads },
        MS,
      );
      model.output(output, shape);
      return { model, output, inputs: rows() };
    },
    "MatMul, Softmax, MatMul": () => {
      const model = new OnnxModel();
      const [q, k, v] = ["q", "k", "v"].map((name) => model.input(name, shape)) as [string, string, string];
      const output = plainAttention(model, q, k, v, { heads, length, width });
      model.output(output, shape);
      return { model, output, inputs: rows() };
    },
  };
}

/** softmax(q·kᵀ / √width) · v by MatMul and Softmax, as torch exports scaled_dot_product_attention; q, k, v [1, S, N·D]. */
export function plainAttention(model: OnnxModel, q: string, k: string, v: string, { heads, length, width }: AttentionSizes): string {
  const split = (x: string, perm: readonly number[]) =>
    model.node("Transpose", [model.node("Reshape", [x, model.ints([1, length, heads, width])])], { perm });
  const scale = model.weight(`scale_${width}`, [1], Float32Array.of(width ** -0.5));
  const scores = model.node("MatMul", [model.node("Mul", [split(q, [0, 2, 1, 3]), scale]), split(k, [0, 2, 3, 1])]);
  const mixed = model.node("MatMul", [model.node("Softmax", [scores], { axis: -1 }), split(v, [0, 2, 1, 3])]);
  return model.node("Reshape", [model.node("Transpose", [mixed], { perm: [0, 2, 1, 3] }), model.ints([1, length, heads * width])]);
}

/** A causal convolution as the reference exports it: the first frame repeated before the others, then Conv. */
export function causalConv(model: OnnxModel, x: string, w: string, bias: string, taps: number, pad = 1): string {
  let padded = x;
  if (taps > 1) {
    const first = model.node("Slice", [x, model.ints([0]), model.ints([1]), model.ints([2])]);
    padded = model.node("Concat", [...Array.from({ length: taps - 1 }, () => first), x], { axis: 2 });
  }
  return model.node("Conv", [padded, w, bias], { pads: [0, pad, pad, 0, pad, pad] });
}

export function convVariants(c: BenchCase<"conv3d", ConvSizes>): Variants {
  const { cin, cout, taps, frames, height, width } = c.sizes;
  const make = (layout: "NCHW" | "NHWC") => (): OnnxVariant => {
    const model = new OnnxModel();
    const shape = taps === 1 ? [frames, cin, height, width] : [1, cin, frames, height, width];
    const x = model.input("x", shape);
    const [w, b] = [
      model.weight("w", taps === 1 ? [cout, cin, 3, 3] : [cout, cin, taps, 3, 3], draw(c.weights["w"]!)),
      model.weight("b", [cout], draw(c.weights["b"]!)),
    ];
    const output = taps === 1 ? model.node("Conv", [x, w, b], { pads: [1, 1, 1, 1] }) : causalConv(model, x, w, b, taps);
    model.output(output, taps === 1 ? [frames, cout, height, width] : c.output);
    return { model, output, layout, inputs: { x: { shape, data: draw(c.inputs["x"]!) } } };
  };
  return { "Conv NHWC": make("NHWC"), "Conv NCHW": make("NCHW") };
}

export function adaLnVariants(c: BenchCase<"adaln", AdaLnSizes>): Variants {
  const { rows, width } = c.sizes;
  return {
    "LayerNormalization, Mul, Add": () => {
      const model = new OnnxModel();
      const [x, scale, shift] = [model.input("x", [rows, width]), model.input("scale", [width]), model.input("shift", [width])];
      const norm = model.node(
        "LayerNormalization",
        [x, model.weight("weight", [width], draw(c.weights["weight"]!)), model.weight("bias", [width], draw(c.weights["bias"]!))],
        { axis: -1, epsilon: { float: 1e-5 } },
      );
      const output = model.node("Add", [model.node("Mul", [norm, scale]), shift]);
      model.output(output, c.output);
      return {
        model,
        output,
        inputs: {
          x: { shape: [rows, width], data: draw(c.inputs["x"]!) },
          scale: { shape: [width], data: draw(c.inputs["scale"]!).map((v) => 1 + v) },
          shift: { shape: [width], data: draw(c.inputs["shift"]!) },
        },
      };
    },
  };
}

export function silu(model: OnnxModel, x: string): string {
  return model.node("Mul", [x, model.node("Sigmoid", [x])]);
}

/** As torch exports nn.GroupNorm: InstanceNormalization over [1, groups, rest], then the channels' weight and bias. */
export function groupNorm(
  model: OnnxModel,
  x: string,
  shape: readonly number[],
  groups: number,
  eps: number,
  weight: { name: string; data: Float32Array },
  bias: { name: string; data: Float32Array },
): string {
  const channels = shape[1]!;
  const flat = model.node("Reshape", [x, model.ints([0, groups, -1])]);
  const one = model.weight(`ones_${groups}`, [groups], new Float32Array(groups).fill(1));
  const zero = model.weight(`zeros_${groups}`, [groups], new Float32Array(groups));
  const normed = model.node("Reshape", [
    model.node("InstanceNormalization", [flat, one, zero], { epsilon: { float: eps } }),
    model.ints(shape),
  ]);
  const wide = [1, channels, ...shape.slice(2).map(() => 1)];
  return model.node("Add", [
    model.node("Mul", [normed, model.weight(weight.name, wide, weight.data)]),
    model.weight(bias.name, wide, bias.data),
  ]);
}

export function groupNormVariants(c: BenchCase<"group_norm", GroupNormSizes>): Variants {
  const { frames, height, width, channels, groups } = c.sizes;
  const first = c.inputs["x"]!.shape;
  const params = () =>
    [
      { name: "weight", data: draw(c.weights["weight"]!) },
      { name: "bias", data: draw(c.weights["bias"]!) },
    ] as const;
  return {
    "GroupNorm (com.microsoft) with SiLU, channels last": () => {
      const model = new OnnxModel();
      const shape = [1, frames * height, width, channels];
      const [weight, bias] = params();
      const x = model.input("x", shape);
      const output = model.node(
        "GroupNorm",
        [x, model.weight("weight", [channels], weight.data), model.weight("bias", [channels], bias.data)],
        { groups, epsilon: { float: 1e-6 }, activation: 1, channels_last: 1 },
        MS,
      );
      model.output(output, shape);
      return {
        model,
        output,
        inputs: { x: { shape, data: permute(draw(c.inputs["x"]!), first, [0, 2, 3, 4, 1]) } },
        read: (y) => permute(y, [1, frames, height, width, channels], [0, 4, 1, 2, 3]),
      };
    },
    "InstanceNormalization, Mul, Add, Sigmoid, Mul": () => {
      const model = new OnnxModel();
      const x = model.input("x", first);
      const output = silu(model, groupNorm(model, x, first, groups, 1e-6, ...params()));
      model.output(output, first);
      return { model, output, inputs: { x: { shape: first, data: draw(c.inputs["x"]!) } } };
    },
    "GroupNormalization, Sigmoid, Mul": () => {
      const model = new OnnxModel();
      const [weight, bias] = params();
      const x = model.input("x", first);
      const normed = model.node(
        "GroupNormalization",
        [x, model.weight("weight", [channels], weight.data), model.weight("bias", [channels], bias.data)],
        { num_groups: groups, epsilon: { float: 1e-6 } },
      );
      const output = silu(model, normed);
      model.output(output, first);
      return { model, output, inputs: { x: { shape: first, data: draw(c.inputs["x"]!) } } };
    },
  };
}
