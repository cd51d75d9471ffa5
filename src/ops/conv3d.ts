/**
 * conv3d: convolution over [B, T, H, W, C], causal in time, as an implicit matmul; with one frame under its kernel it is the
 * VAE's 2-D convolution, with one position the 1×1×1. Bias, residual and SiLU are fused into the end, nearest upsampling of
 * what is read into the beginning.
 *
 * A dispatch computes a range of output frames (or rows of one frame) over a range of taps in time. Mostly that is everything
 * at once. The frames whose taps reach into the cache are computed in two steps, taps on the cache and taps on x, the second
 * adding to the first; tensors above the binding limit are computed by ranges of frames, or by rows and single taps.
 */
import { conv3dOctet, conv3dQuad, conv3dQuadRow, conv3dSubgroupMatrix, conv3dTiled } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import type { Capabilities } from "../gpu/capabilities.ts";
import { type DType, isFloat } from "../graph/dtype.ts";
import type { Dispatch, Node, Op, Target, View } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { choiceKey, preferring } from "../plan/choice.ts";
import { dispatch, foldGrid, MAX_DISPATCH_FLOPS } from "../plan/dispatch.ts";
import { padTo, PANEL } from "../graph/packing.ts";
import { matrixTiles, type MatrixVariant } from "./tiles/matrix-tile.ts";
import { tilesThatFit, type RegisterTile } from "./tiles/register-tile.ts";
import { cut, window, windowFits, wrap } from "../plan/windows.ts";

type Triple = readonly [number, number, number];

export interface Conv3dOptions {
  /** [Cout] */
  bias?: Tensor;
  /** The kernel's T − 1 frames before x, [B, kt − 1, H, W, C]. Default: the first frame, repeated. */
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
  /** Reads x as if its rows and columns were doubled, and for `space-time` its frames too (of an odd number above 1 the first stays single). */
  upsample?: "space" | "space-time";
  activation?: "silu";
  /** Storage type of the result. Default f32. */
  dtype?: DType;
}

interface ConvInputs {
  x: Tensor;
  w: Tensor;
  bias: Tensor | undefined;
  cache: Tensor | undefined;
  residual: Tensor | undefined;
}
export interface ConvAttrs {
  stride: Triple;
  dilation: number;
  pad: readonly [number, number, number, number];
  replicate: boolean;
  upsample: "space" | "space-time" | null;
  activation: "silu" | null;
  dtype: DType;
}

/**
 * x [B, T, H, W, C] and w [Cout, Cin, kt, kh, kw] or [Cout, Cin, kh, kw] → [B, T', H', W', Cout padded to 4]. A weight w is packed once, when it
 * is loaded; an input or an activation in each run, before the convolution.
 */
export function conv3d(x: Tensor, w: Tensor, options: Conv3dOptions = {}): Tensor {
  const [, kh, kw] = taps(w);
  const around = [Math.floor((kh - 1) / 2), Math.floor((kw - 1) / 2)] as const;
  return x.graph.record(
    conv3dOp,
    { x, w, bias: options.bias, cache: options.cache, residual: options.residual },
    {
      stride: options.stride ?? [1, 1, 1],
      dilation: options.dilation ?? 1,
      pad: options.pad ?? [around[0], around[0], around[1], around[1]],
      replicate: options.padMode === "replicate",
      upsample: options.upsample ?? null,
      activation: options.activation ?? null,
      dtype: options.dtype ?? "f32",
    },
  ).y;
}

/** Frames, rows and columns of x as the convolution sees them: after upsampling. */
function seen(x: Tensor, upsample: ConvAttrs["upsample"]): Triple {
  const [, t, h, w] = x.shape as [number, number, number, number];
  if (!upsample) return [t, h, w];
  return [upsample === "space-time" ? upsampledFrames(t) : t, 2 * h, 2 * w];
}

/** Frames after doubling in time: the first of an odd number stays single. */
export const upsampledFrames = (t: number): number => (t === 1 ? 1 : t % 2 ? 2 * t - 1 : 2 * t);

export const conv3dOp: Op<ConvInputs, ConvAttrs, "y"> = {
  name: "conv3d",
  infer({ x, w, bias, cache, residual }, attrs) {
    const { stride, dilation, pad, dtype } = attrs;
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
        `kernel, strides and dilation must be 1 to 15 and padding −8 to 7, got kernel [${[kt, kh, kw].join(", ")}], stride [${stride.join(", ")}], dilation ${dilation}, pad [${pad.join(", ")}]; split the convolution`,
      );
    }
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
        cache.dim(1) !== kt - 1)
    ) {
      throw new CogwheelError(
        "conv3d",
        `a cache must be the ${kt - 1} frames before x ${show(x)}, got ${show(cache)}; make it with causalCache`,
      );
    }
    const [t, h, wide] = seen(x, attrs.upsample);
    const out = [
      Math.floor((t + kt - 1 - dilation * (kt - 1) - 1) / stride[0]) + 1,
      Math.floor((h + pad[0] + pad[1] - kh) / stride[1]) + 1,
      Math.floor((wide + pad[2] + pad[3] - kw) / stride[2]) + 1,
    ];
    const shape = [x.dim(0), ...out, padTo(w.dim(0), 4)];
    if (out.some((n) => n < 1))
      throw new CogwheelError(
        "conv3d",
        `the kernel must fit the padded input, got x ${show(x)} and w ${show(w)}; use more frames or a larger picture`,
      );
    if (residual && (residual.dtype !== "f32" || residual.shape.join() !== shape.join()))
      throw new CogwheelError("conv3d", `the residual must be f32 [${shape.join(", ")}], got ${show(residual)}`);
    return { y: { shape, dtype } };
  },
  cost({ inputs: { x, w, residual }, outputs: { y } }) {
    return { flops: 2 * (y.size / y.dim(-1)) * w.size, bytes: x.bytes + w.bytes + y.bytes + (residual?.bytes ?? 0) };
  },
  lower(node, target) {
    return regions(node, target.caps).flatMap((region) => lowerRegion(node, target, region));
  },
};

/** A part of y that is computed together, and the steps over taps that compute it. */
interface Region {
  /** One batch entry, or all. */
  readonly b: number;
  readonly batches: number;
  readonly t0: number;
  readonly frames: number;
  readonly h0: number;
  readonly rows: number;
  readonly steps: readonly Step[];
}
interface Step {
  readonly source: "x" | "cache";
  /** Taps in time. */
  readonly from: number;
  readonly to: number;
}

type ConvNode = Node<ConvInputs, ConvAttrs, "y">;

function regions({ inputs: { x, w, cache, residual }, attrs, outputs: { y } }: ConvNode, caps: Capabilities): Region[] {
  const [kt] = taps(w);
  const [batches, frames, rows] = y.shape as [number, number, number];
  const all: Step = { source: "x", from: 0, to: kt };
  const tensors = [x, y, ...(cache ? [cache] : []), ...(residual ? [residual] : [])];
  const large = tensors.some((t) => t.bytes > caps.maxBindingBytes);
  const rowFlops = 2 * y.dim(3) * w.size;
  const maxRows = Math.max(1, Math.floor(MAX_DISPATCH_FLOPS[caps.kind] / rowFlops));
  if (!large && !cache && batches * frames * rows <= maxRows) return [{ b: 0, batches, t0: 0, frames, h0: 0, rows, steps: [all] }];

  // Taps of output frame t that lie before x.
  const before = (t: number) => (cache ? Math.max(0, Math.min(kt, Math.ceil((kt - 1 - t * attrs.stride[0]) / attrs.dilation))) : 0);
  const out: Region[] = [];
  for (let b = 0; b < batches; b++) {
    const fits = (part: Omit<Region, "b" | "batches" | "steps">, steps: readonly Step[]): boolean => {
      const region = { b, batches: 1, steps, ...part };
      const place = outputRange(y, region);
      return (
        part.frames * part.rows <= maxRows &&
        windowFits(y, place.first, place.count, caps) &&
        (!residual || windowFits(residual, place.first, place.count, caps)) &&
        steps.every((step) => {
          const source = step.source === "x" ? x : cache!;
          const needed = inputRange(source, w, attrs, region, step);
          return windowFits(source, needed.first, needed.count, caps);
        })
      );
    };
    const add = (t0: number, count: number, steps: readonly Step[]): void => {
      const spans = cut(count, (start, n) => fits({ t0: t0 + start, frames: n, h0: 0, rows }, steps));
      if (spans) {
        for (const span of spans) out.push({ b, batches: 1, t0: t0 + span.start, frames: span.count, h0: 0, rows, steps });
        return;
      }
      // Not even one frame: rows of it, with all its taps or with each tap in time apart.
      const single = steps.flatMap((s) =>
        Array.from({ length: s.to - s.from }, (_, i) => ({ source: s.source, from: s.from + i, to: s.from + i + 1 })),
      );
      for (let t = t0; t < t0 + count; t++) {
        const bands = (taps: readonly Step[]) =>
          cut(rows, (start, n) => fits({ t0: t, frames: 1, h0: start, rows: n }, taps))?.map((band) => ({
            b,
            batches: 1,
            t0: t,
            frames: 1,
            h0: band.start,
            rows: band.count,
            steps: taps,
          }));
        const found = bands(steps) ?? bands(single);
        if (!found)
          throw new CogwheelError(
            "conv3d",
            `one row of a frame must fit a binding of ${caps.maxBindingBytes} bytes, got x ${show(x)} → ${show(y)}; choose a narrower picture or dtype f16`,
          );
        out.push(...found);
      }
    };
    let t = 0;
    for (; t < frames && before(t) > 0; t++) {
      const split = before(t);
      add(t, 1, [{ source: "cache", from: 0, to: split }, ...(split < kt ? [{ source: "x" as const, from: split, to: kt }] : [])]);
    }
    if (t < frames) add(t, frames - t, [all]);
  }
  return out;
}

/** Vectors of `y` that a region covers. */
function outputRange(y: Tensor, { b, batches, t0, frames, h0, rows }: Region): { first: number; count: number } {
  const [, tAll, hAll, wAll, n] = y.shape as [number, number, number, number, number];
  const rowVectors = (wAll * n) / 4;
  return { first: ((b * tAll + t0) * hAll + h0) * rowVectors, count: batches * frames * rows * rowVectors };
}

/** Frame of the source under tap 0 of a region's first output frame. */
function frameOrigin(w: Tensor, attrs: ConvAttrs, region: Region, step: Step): number {
  return region.t0 * attrs.stride[0] - (step.source === "x" ? taps(w)[0] - 1 : 0);
}

/** Vectors of the source that a region reads in one step, from the first to the last. */
function inputRange(source: Tensor, w: Tensor, attrs: ConvAttrs, region: Region, step: Step): { first: number; count: number } {
  const [, kh] = taps(w);
  const [, tAll, hAll, wAll, n] = source.shape as [number, number, number, number, number];
  const [tSeen, hSeen] = seen(source, attrs.upsample);
  const t0 = frameOrigin(w, attrs, region, step);
  const frameOf = (t: number) => {
    const frame = Math.max(0, Math.min(t, tSeen - 1));
    return upsampleMode(source, attrs) === 0 ? frame : (frame + (upsampleMode(source, attrs) === 2 ? 1 : 0)) >> 1;
  };
  const rowOf = (h: number) => Math.max(0, Math.min(h, hSeen - 1)) >> (attrs.upsample ? 1 : 0);
  const h0 = region.h0 * attrs.stride[1] - attrs.pad[0];
  const firstFrame = frameOf(t0 + step.from * attrs.dilation);
  const lastFrame = frameOf(t0 + (region.frames - 1) * attrs.stride[0] + (step.to - 1) * attrs.dilation);
  const firstRow = rowOf(h0);
  const lastRow = rowOf(h0 + (region.rows - 1) * attrs.stride[1] + kh - 1);
  const rowVectors = (wAll * n) / 4;
  const first = ((region.b * tAll + firstFrame) * hAll + firstRow) * rowVectors;
  const end = (((region.b + region.batches - 1) * tAll + lastFrame) * hAll + lastRow + 1) * rowVectors;
  return { first, count: end - first };
}

/** 0: frames as they are; 1: each twice; 2: each but the first twice. */
function upsampleMode(x: Tensor, attrs: ConvAttrs): 0 | 1 | 2 {
  if (attrs.upsample !== "space-time" || x.dim(1) === 1) return 0;
  return x.dim(1) % 2 ? 2 : 1;
}

/** Bits of the kernels' `switches`. */
const SWITCHES = { bias: 1, residual: 2, silu: 4, accumulate: 8, replicate: 16, doubled: 32, doubledFrames: 64, firstApart: 128 };

function lowerRegion(node: ConvNode, target: Target, region: Region): Dispatch[] {
  const {
    inputs: { x, w, bias, cache, residual },
    attrs,
    outputs: { y },
  } = node;
  const { caps } = target;
  const [kt, kh, kw] = taps(w);
  const [, , , wAll, n] = y.shape as [number, number, number, number, number];
  const place = outputRange(y, region);
  const m = (place.count / n) * 4;
  // Partial sums are f32: in y itself where it is, else in memory of their own, to be read as the last step's residual.
  const partial = region.steps.length > 1 && y.dtype !== "f32" ? target.scratch([m, n], "f32") : undefined;

  return region.steps.map((step, index) => {
    const mode = upsampleMode(x, attrs);
    const [first, last] = [index === 0, index === region.steps.length - 1];
    const source = step.source === "x" ? x : cache!;
    const needed = inputRange(source, w, attrs, region, step);
    const read = window(source, needed.first, needed.count, caps);
    const whole = partial && !last ? { tensor: partial, at: 0 } : { tensor: y, at: place.first };
    const written = window(whole.tensor, whole.at, place.count, caps);
    const addend = partial && last ? { tensor: partial, at: 0 } : first && residual ? { tensor: residual, at: place.first } : undefined;
    const added = addend && window(addend.tensor, addend.at, place.count, caps);
    const switches =
      (bias && first ? SWITCHES.bias : 0) |
      (added ? SWITCHES.residual : 0) |
      (attrs.activation === "silu" && last ? SWITCHES.silu : 0) |
      (!first && !(partial && last) ? SWITCHES.accumulate : 0) |
      (attrs.replicate ? SWITCHES.replicate : 0) |
      (attrs.upsample ? SWITCHES.doubled : 0) |
      (mode ? SWITCHES.doubledFrames : 0) |
      (mode === 2 ? SWITCHES.firstApart : 0) |
      (step.from << 16) |
      (step.to << 24);
    const kernel =
      [kt, kh, kw, ...attrs.stride, attrs.dilation, attrs.pad[2]].reduce((bits, value, i) => bits | (value << (4 * i)), 0) >>> 0;
    const [tIn, hIn, wIn] = [source.dim(1), ...seen(source, attrs.upsample).slice(1)] as [number, number, number];
    const candidates = conv3dCandidates(caps, {
      m,
      n,
      cin: x.dim(-1),
      kw,
      stride: attrs.stride[2],
      half: source.dtype === "f16" && w.dtype === "f16",
    });
    const exact = { n, cin: x.dim(-1), taps: [kt, kh, kw].join("×"), stride: attrs.stride.join("×") };
    const variant = target.choose(choiceKey("conv3d", { m }, exact, [source.dtype, w.dtype, whole.tensor.dtype]), candidates);
    const weights: View = { tensor: w, packing: variant.name === "subgroup_matrix" ? "row" : "panel" };
    const common = {
      bindings: {
        x: read.view,
        w: weights,
        bias: bias ? { tensor: bias, packing: "vector" as const } : weights,
        residual: added?.view ?? weights,
        y: written.view,
      },
      types: { X: source.dtype, W: w.dtype, Y: whole.tensor.dtype },
    };
    const params = {
      n,
      cin4: x.dim(-1) / 4,
      t_in: tIn,
      h_in: hIn,
      w_in: wIn,
      t_out: region.frames,
      h_out: region.rows,
      w_out: wAll,
      t_origin: frameOrigin(w, attrs, region, step),
      h_origin: region.h0 * attrs.stride[1] - attrs.pad[0],
      kernel,
      switches: switches >>> 0,
      x_base: wrap(read.base + (region.b * source.size) / source.dim(0) / 4),
      y_base: wrap(written.base + whole.at),
      r_base: added ? wrap(added.base + addend.at) : 0,
    };
    if (variant.name === "subgroup_matrix") {
      const {
        types: { Y },
        ...bound
      } = common;
      return dispatch({
        kernel: conv3dSubgroupMatrix,
        ...bound,
        types: { Y },
        params: { m, ...params },
        consts: variant.consts,
        grid: foldGrid(Math.ceil(m / variant.bm) * Math.ceil(n / variant.bn), caps),
      });
    }
    if (variant.name !== "tiled") {
      const wg = caps.subgroups!.max;
      const runs = (m / wAll) * Math.ceil(wAll / (variant.name === "quad_row" ? 8 : 4));
      const placed = {
        ...common,
        params: { runs, ...params },
        overrides: { WG: wg },
        grid: foldGrid(Math.ceil(runs / wg) * Math.ceil(n / PANEL), caps),
      };
      if (variant.name === "quad_row") return dispatch({ kernel: conv3dQuadRow, ...placed });
      const OVERLAP = +(attrs.stride[2] === 1);
      // Kernels of the usual widths are compiled for them.
      if (variant.name === "octet") return dispatch({ kernel: conv3dOctet, ...placed, consts: { OVERLAP, KW: kw <= 3 ? kw : 0 } });
      return dispatch({ kernel: conv3dQuad, ...placed, consts: { OVERLAP } });
    }
    return dispatch({
      kernel: conv3dTiled,
      ...common,
      params: { m, ...params },
      consts: { BM: variant.bm, BN: variant.bn, BK: variant.bk, TM: variant.tm, TN: variant.tn },
      grid: foldGrid(Math.ceil(m / variant.bm) * Math.ceil(n / variant.bn), caps),
    });
  });
}

export type Conv3dVariant = { name: "octet" } | { name: "quad" } | { name: "quad_row" } | RegisterTile | MatrixVariant;

/** What a choice is made by: positions and channels of y, channels of x, taps in a row and the stride between its columns; are x and w f16? */
export interface Conv3dShape {
  m: number;
  n: number;
  cin: number;
  kw: number;
  stride: number;
  half: boolean;
}

/**
 * Every kernel that an adapter can run for a shape, the one that is taken without a measurement first. CPU adapters prefer those
 * without workgroup memory, by their number of lanes: of 8, lavapipe runs `octet` a third faster than `quad`, of 4, SwiftShader
 * `quad_row`, for three taps a row at stride 1, twice as fast. GPUs take subgroup matrices for f16 where they have them, and a
 * tile that the work fills.
 */
export function conv3dCandidates(caps: Capabilities, shape: Conv3dShape): Conv3dVariant[] {
  const lanes = caps.kind === "software" ? (caps.subgroups?.min ?? 0) : 0;
  const { m, n, cin, kw, stride, half } = shape;
  return [
    ...(lanes >= 8 ? [{ name: "octet" } as const] : []),
    ...(lanes >= 4 && lanes < 8 && kw === 3 && stride === 1 ? [{ name: "quad_row" } as const] : []),
    ...(lanes >= 4 ? [{ name: "quad" } as const] : []),
    ...(half ? matrixTiles(caps, m, n, cin, 16) : []),
    ...registerTiles(caps, shape),
  ];
}

function registerTiles(caps: Capabilities, { m, n, cin }: Conv3dShape): RegisterTile[] {
  const bk = cin % 16 === 0 ? 16 : cin % 8 === 0 ? 8 : 4;
  const bn = n > 32 ? 64 : n > 16 ? 32 : 16;
  const [large] = n >= 128 && bk === 16 ? tilesThatFit(caps, [{ bm: 128, bn: 128, bk, tm: 8, tn: 2 }]) : [];
  const small = tilesThatFit(
    caps,
    [128, 64, 32].map((bm) => ({ bm, bn, bk, tm: bm === 128 && bn > 16 ? 8 : 4, tn: 1 })),
  );
  const all = large ? [large, ...small] : small;
  // Large tiles while there are enough of them to fill a GPU.
  if (large && m >= 128 && m * n >= 96 * 128 * 128) return all;
  const bm = m * n >= 128 * 64 * 128 ? 128 : m > 32 ? 64 : 32;
  return preferring(small.find((tile) => tile.bm === bm) ?? small[0], all);
}

/** kt, kh, kw of a convolution's weight; a 2-D one has one tap in time. */
function taps(w: Tensor): Triple {
  return [w.shape.length === 5 ? w.dim(2) : 1, w.dim(-2), w.dim(-1)];
}

const show = (t: Tensor): string => `[${t.shape.join(", ")}] ${t.dtype}`;
