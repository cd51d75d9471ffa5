/** Where a convolution reads: which frames, rows and columns lie under its taps. */
import type { DType } from "../../graph/dtype.ts";
import type { Node } from "../../graph/op.ts";
import type { Region } from "../../graph/region.ts";
import type { Tensor } from "../../graph/tensor.ts";

export type Triple = readonly [number, number, number];

export interface ConvInputs {
  x: Tensor;
  w: Tensor;
  bias: Tensor | undefined;
  cache: Tensor | undefined;
  residual: Tensor | undefined;
}

/** The activations of the epilogue. */
export const ACTIVATIONS = ["silu"] as const;

export interface ConvAttrs {
  stride: Triple;
  dilation: number;
  pad: readonly [top: number, bottom: number, left: number, right: number];
  /** Padded rows and columns repeat the border; zeros otherwise. */
  replicate: boolean;
  padFrames: readonly [before: number, after: number];
  /** Padded frames are zeros; those before the first repeat it otherwise. */
  zeroFrames: boolean;
  upsample: "space" | "space-time" | null;
  keepFirst: boolean;
  activation: (typeof ACTIVATIONS)[number] | null;
  dtype: DType;
}

export type ConvNode = Node<ConvInputs, ConvAttrs, "y">;

/** kt, kh, kw of a convolution's weight; a 2-D one has one tap in time. */
export function taps(w: Tensor): Triple {
  return [w.shape.length === 5 ? w.dim(2) : 1, w.dim(-2), w.dim(-1)];
}

type Upsampling = Pick<ConvAttrs, "upsample" | "keepFirst">;

/** Frames, rows and columns of x as the convolution sees them: after upsampling. */
export function seen(x: Tensor, { upsample, keepFirst }: Upsampling): Triple {
  const [, t, h, w] = x.shape as [number, number, number, number];
  if (!upsample) return [t, h, w];
  return [upsample === "space-time" ? upsampledFrames(t, keepFirst) : t, 2 * h, 2 * w];
}

/** Frames after doubling in time. @param keepFirst the first of an odd number stays single */
export const upsampledFrames = (t: number, keepFirst = true): number => (keepFirst && t % 2 ? 2 * t - 1 : 2 * t);

/** Frames, rows and columns of y. */
export function outputSize(x: Tensor, w: Tensor, attrs: ConvAttrs): Triple {
  const { stride, dilation, pad, padFrames } = attrs;
  const [kt, kh, kw] = taps(w);
  const [t, h, wide] = seen(x, attrs);
  return [
    Math.floor((t + padFrames[0] + padFrames[1] - dilation * (kt - 1) - 1) / stride[0]) + 1,
    Math.floor((h + pad[0] + pad[1] - kh) / stride[1]) + 1,
    Math.floor((wide + pad[2] + pad[3] - kw) / stride[2]) + 1,
  ];
}

/** 4 bits each, as the kernels read them: taps in time, rows, columns; strides in time, rows, columns; dilation; columns padded left. */
export function kernelBits(w: Tensor, { stride, dilation, pad }: ConvAttrs): number {
  return [...taps(w), ...stride, dilation, pad[2]].reduce((bits, value, i) => bits | (value << (4 * i)), 0) >>> 0;
}

/** 0: frames as they are; 1: each twice; 2: each but the first twice. */
export function upsampleMode(x: Tensor, { upsample, keepFirst }: Upsampling): 0 | 1 | 2 {
  if (upsample !== "space-time" || (keepFirst && x.dim(1) === 1)) return 0;
  return keepFirst && x.dim(1) % 2 ? 2 : 1;
}

/**
 * Which taps in time of an output frame lie on x, from `from` to below `to`: those before are on the frames padded before x, those behind
 * on the frames padded after it.
 */
export function tapsOnX(x: Tensor, w: Tensor, attrs: ConvAttrs, frame: number): { from: number; to: number } {
  const [kt] = taps(w);
  const [frames] = seen(x, attrs);
  const first = frame * attrs.stride[0] - attrs.padFrames[0];
  const before = (end: number) => Math.max(0, Math.min(kt, Math.ceil((end - first) / attrs.dilation)));
  return { from: before(0), to: before(frames) };
}

/** Of x, the rows and columns under a region of y; and the padding that is left around them. */
export function convReach({ inputs: { x, w }, attrs }: ConvNode, out: Region): { region: Region; pad: ConvAttrs["pad"] } {
  const [, kh, kw] = taps(w);
  const doubled = attrs.upsample !== null;
  const rows = under(x.dim(2), kh, attrs.stride[1], attrs.pad[0], doubled, out.top, out.bottom);
  const columns = under(x.dim(3), kw, attrs.stride[2], attrs.pad[2], doubled, out.left, out.right);
  return {
    region: { top: rows.from, bottom: rows.to, left: columns.from, right: columns.to },
    pad: [rows.before, rows.after, columns.before, columns.after],
  };
}

/** Rows (or columns) of x under rows a to below b of y, and the padding before and after them. */
function under(size: number, taps: number, stride: number, padBefore: number, doubled: boolean, a: number, b: number) {
  const seenSize = doubled ? 2 * size : size;
  const begin = a * stride - padBefore;
  const [low, high] = [Math.max(0, begin), Math.min(seenSize, (b - 1) * stride - padBefore + taps)];
  const [from, to] = doubled ? [Math.floor(low / 2), Math.ceil(high / 2)] : [low, high];
  const [start, length] = doubled ? [2 * from, 2 * (to - from)] : [from, to - from];
  const before = start - begin;
  return { from, to, before, after: (b - a - 1) * stride + taps - length - before };
}

export const show = (t: Tensor): string => `[${t.shape.join(", ")}] ${t.dtype}`;
