/**
 * conv3d: convolution over [B, T, H, W, C] as an implicit matmul, by default causal in time; with one frame under its kernel it is a 2-D
 * convolution, with one position a 1×1×1. Bias, residual and SiLU are fused into the end, nearest upsampling of what is read into
 * the beginning. How it is cut into dispatches: conv3d/parts.ts and lower.ts; which kernel takes them: conv3d/variants.ts.
 * Kernels: kernels/conv/.
 */
import { CogwheelError } from "../base/errors.ts";
import { type DType, isFloat } from "../graph/dtype.ts";
import { assertKnown } from "../graph/known-name.ts";
import type { Op } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { padTo } from "../graph/packing.ts";
import {
  ACTIVATIONS,
  convReach,
  outputSize,
  show,
  taps,
  tapsOnX,
  type ConvAttrs,
  type ConvInputs,
  type Triple,
} from "./conv3d/geometry.ts";
import { lowerPart } from "./conv3d/lower.ts";
import { partsOf } from "./conv3d/parts.ts";

export { upsampledFrames, type ConvAttrs } from "./conv3d/geometry.ts";
export { conv3dCandidates, type Conv3dShape, type Conv3dVariant } from "./conv3d/variants.ts";

/** What `conv3d` takes beside its input and weight. */
export interface Conv3dOptions {
  /** [Cout] */
  bias?: Tensor;
  /** The frames before x, [B, padFrames[0], H, W, C]. Default: as `padFramesMode` says. */
  cache?: Tensor;
  /** [B, T', H', W', C'] f32, added to the result. */
  residual?: Tensor;
  /** In time, rows and columns. Default 1. */
  stride?: Triple;
  /** In time. Default 1. */
  dilation?: number;
  /** Rows above and below, columns left and right; negative ones are cut off. Default: half the kernel all around. */
  pad?: readonly [top: number, bottom: number, left: number, right: number];
  /** What the padded rows and columns hold. Default zeros. */
  padMode?: "zeros" | "replicate";
  /** Frames before the first and after the last that the kernel sees. Default: kt − 1 and 0, causal in time. */
  padFrames?: readonly [before: number, after: number];
  /** What the frames before the first hold: that frame, repeated (default), or zeros. Frames after the last can be zeros only. */
  padFramesMode?: "repeat" | "zeros";
  /** Reads x as if its rows and columns were doubled, and for `space-time` its frames too. */
  upsample?: "space" | "space-time";
  /** When frames are doubled, the first of an odd number stays single. Default true. */
  keepFirst?: boolean;
  activation?: (typeof ACTIVATIONS)[number];
  /** Storage type of the result. Default f32. */
  dtype?: DType;
}

/**
 * x [B, T, H, W, C] and w [Cout, Cin, kt, kh, kw] or [Cout, Cin, kh, kw] → [B, T', H', W', Cout padded to 4]. A weight w is packed
 * once, when it is loaded; an input or an activation in each run, before the convolution.
 */
export function conv3d(x: Tensor, w: Tensor, options: Conv3dOptions = {}): Tensor {
  assertKnown("conv3d", "padMode", options.padMode, ["zeros", "replicate"]);
  assertKnown("conv3d", "padFramesMode", options.padFramesMode, ["repeat", "zeros"]);
  assertKnown("conv3d", "upsample", options.upsample, ["space", "space-time"]);
  assertKnown("conv3d", "the activation", options.activation, ACTIVATIONS);
  const [kt, kh, kw] = taps(w);
  const around = [Math.floor((kh - 1) / 2), Math.floor((kw - 1) / 2)] as const;
  return x.graph.record(
    conv3dOp,
    { x, w, bias: options.bias, cache: options.cache, residual: options.residual },
    {
      stride: options.stride ?? [1, 1, 1],
      dilation: options.dilation ?? 1,
      pad: options.pad ?? [around[0], around[0], around[1], around[1]],
      replicate: options.padMode === "replicate",
      padFrames: options.padFrames ?? [kt - 1, 0],
      zeroFrames: options.padFramesMode === "zeros",
      upsample: options.upsample ?? null,
      keepFirst: options.keepFirst ?? true,
      activation: options.activation ?? null,
      dtype: options.dtype ?? "f32",
    },
  ).y;
}

export const conv3dOp: Op<ConvInputs, ConvAttrs, "y"> = {
  name: "conv3d",
  infer({ x, w, bias, cache, residual }, attrs) {
    const { stride, dilation, pad, padFrames, zeroFrames, dtype } = attrs;
    if (x.shape.length !== 5 || (w.shape.length !== 5 && w.shape.length !== 4) || !isFloat(x) || !isFloat(w))
      throw new CogwheelError(
        "conv3d",
        `x must be [B, T, H, W, C] and w [out, in, kt, kh, kw] or [out, in, kh, kw], both f32 or f16, got ${show(x)} and ${show(w)}`,
      );
    const [kt, kh, kw] = taps(w);
    if (x.dim(-1) !== padTo(w.dim(1), 4))
      throw new CogwheelError(
        "conv3d",
        `channels must match, got x ${show(x)} and w ${show(w)}; x has its channels padded to a multiple of 4`,
      );
    // The kernels take each of these in 4 bits.
    if (
      [...stride, dilation, kt, kh, kw].some((n) => !Number.isInteger(n) || n < 1 || n > 15) ||
      pad.some((n) => !Number.isInteger(n) || n < -8 || n > 7)
    ) {
      throw new CogwheelError(
        "conv3d",
        `kernel, strides and dilation must be 1 to 15 and padding −8 to 7, got kernel [${[kt, kh, kw].join(", ")}], ` +
          `stride [${stride.join(", ")}], dilation ${dilation}, pad [${pad.join(", ")}]; split the convolution`,
      );
    }
    if (padFrames.some((n) => !Number.isInteger(n) || n < 0) || (padFrames[1] > 0 && !zeroFrames))
      throw new CogwheelError(
        "conv3d",
        "frames are padded by whole numbers from 0, after the last one with zeros, " +
          `got padFrames [${padFrames.join(", ")}] of ${zeroFrames ? "zeros" : "repeated frames"}; pass padFramesMode "zeros"`,
      );
    if (bias && (bias.size !== w.dim(0) || bias.dtype !== "f32"))
      throw new CogwheelError(
        "conv3d",
        `the bias must have ${w.dim(0)} values in f32, got ${show(bias)}; check the weight's name and type`,
      );
    if (
      cache &&
      (cache.shape.length !== 5 ||
        cache.dtype !== x.dtype ||
        attrs.upsample ||
        [0, 2, 3, 4].some((i) => cache.dim(i) !== x.dim(i)) ||
        cache.dim(1) !== padFrames[0])
    ) {
      throw new CogwheelError(
        "conv3d",
        `a cache must be the ${padFrames[0]} frames before x ${show(x)}, got ${show(cache)}; make it with causalCache`,
      );
    }
    const out = outputSize(x, w, attrs);
    const shape = [x.dim(0), ...out, padTo(w.dim(0), 4)];
    if (out.some((n) => n < 1))
      throw new CogwheelError(
        "conv3d",
        `the kernel must fit the padded input, got x ${show(x)} and w ${show(w)}; use more frames or a larger picture`,
      );
    for (let frame = 0; zeroFrames && frame < out[0]!; frame++) {
      const { from, to } = tapsOnX(x, w, attrs, frame);
      if (from >= to && !(cache && from > 0))
        throw new CogwheelError(
          "conv3d",
          "every frame of the result must see one of x, " +
            `got none under frame ${frame} with padFrames [${padFrames.join(", ")}] around x ${show(x)}; pad less`,
        );
    }
    if (residual && (residual.dtype !== "f32" || residual.shape.join() !== shape.join()))
      throw new CogwheelError("conv3d", `the residual must be f32 [${shape.join(", ")}], got ${show(residual)}`);
    return { y: { shape, dtype } };
  },
  cost({ inputs: { x, w, residual }, outputs: { y } }) {
    return { flops: 2 * (y.size / y.dim(-1)) * w.size, bytes: x.bytes + w.bytes + y.bytes + (residual?.bytes ?? 0) };
  },
  lower(node, target) {
    return partsOf(node, target.caps).flatMap((part) => lowerPart(node, target, part));
  },
  reach(node, out) {
    const { region, pad } = convReach(node, out);
    return { inputs: { x: region, cache: region, residual: out }, attrs: { ...node.attrs, pad } };
  },
};
