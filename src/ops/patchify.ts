/** patchify and unpatchify: latents ↔ the tokens of their patches. Kernels: kernels/embed/. */
import { patchify as kernel } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import { bytesOf, type DType } from "../graph/dtype.ts";
import type { Op, Target } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { dispatch, foldGrid, rowView, rowWindows } from "../plan/dispatch.ts";
import { padTo } from "../graph/packing.ts";

interface Patch {
  p: number;
  pt: number;
}
interface Inputs {
  x: Tensor;
  extra: Tensor | undefined;
}
interface Attrs extends Patch {
  batch: number;
  dtype: DType;
}

export interface PatchifyOptions {
  /** Side of a patch in latent pixels, and its frames (1, or `patch_size_t`). */
  patchSize: number;
  patchSizeT: number;
  /** Samples in the result: a multiple of x's; they repeat. Default: as many as x has. */
  batch?: number;
  /** [n, F, C2, H, W]: more channels, after those of x. */
  extra?: Tensor;
  dtype?: DType;
}

/** x [n, F, C, H, W] → [B, F/pt · H/p · W/p, C·pt·p·p] */
export function patchify(x: Tensor, options: PatchifyOptions): Tensor {
  return x.graph.record(
    patchifyOp,
    { x, extra: options.extra },
    { p: options.patchSize, pt: options.patchSizeT, batch: options.batch ?? x.dim(0), dtype: options.dtype ?? "f32" },
  ).y;
}

export interface UnpatchifyOptions {
  /** C. Tokens may have columns beyond its C·pt·p·p values, which are padding. */
  channels: number;
  patchSize: number;
  patchSizeT: number;
  frames: number;
  height: number;
  width: number;
}

/** tokens [B, V, C·pt·p·p padded to a multiple of 4] → [B, F, C, H, W] f32, of the given latent frames, height and width. */
export function unpatchify(tokens: Tensor, o: UnpatchifyOptions): Tensor {
  return tokens.graph.record(
    unpatchifyOp,
    { x: tokens },
    {
      p: o.patchSize,
      pt: o.patchSizeT,
      channels: o.channels,
      first: 0,
      of: o.channels,
      repeats: 1,
      frames: o.frames,
      height: o.height,
      width: o.width,
    },
  ).y;
}

function checkSizes(op: string, { p, pt }: Patch, frames: number, height: number, width: number): void {
  if (frames % pt || height % p || width % p)
    throw new CogwheelError(
      op,
      `latent frames must be a multiple of ${pt}, height and width of ${p}, got ${frames} × ${height} × ${width}; choose another size`,
    );
}

export const patchifyOp: Op<Inputs, Attrs, "y"> = {
  name: "patchify",
  infer({ x, extra }, attrs) {
    const [n, f, c, h, w] = x.shape as [number, number, number, number, number];
    if (x.shape.length !== 5 || extra?.shape.some((s, i) => i !== 2 && s !== x.shape[i]))
      throw new CogwheelError("patchify", `latents must be [n, F, C, H, W], got ${x}${extra ? ` and ${extra}` : ""}`);
    if (attrs.batch % n) throw new CogwheelError("patchify", `the batch must be a multiple of the samples, got ${attrs.batch} and ${n}`);
    checkSizes("patchify", attrs, f, h, w);
    return {
      y: {
        shape: [attrs.batch, (f / attrs.pt) * (h / attrs.p) * (w / attrs.p), (c + (extra?.dim(2) ?? 0)) * attrs.pt * attrs.p ** 2],
        dtype: attrs.dtype,
      },
    };
  },
  cost: ({ outputs: { y } }) => ({ flops: 0, bytes: 2 * y.bytes }),
  lower({ inputs: { x, extra }, attrs, outputs: { y } }, target) {
    const [n, f, c, h, w] = x.shape as [number, number, number, number, number];
    return windows(y, y.dim(-1), target).map((win) =>
      dispatch({
        kernel,
        types: { X: x.dtype, E: extra?.dtype ?? x.dtype, Y: y.dtype },
        consts: { P: attrs.p, PT: attrs.pt, EXTRA: +!!extra, INVERSE: 0 },
        params: {
          count: win.count * y.dim(-1),
          base: win.start * y.dim(-1),
          samples: n,
          frames: f,
          channels: c,
          extra_channels: extra?.dim(2) ?? 0,
          height: h,
          width: w,
          stride: y.dim(-1),
          repeats: 1,
        },
        bindings: { x, extra: extra ?? x, y: rowView(y, win, y.dim(-1)) },
        grid: foldGrid(Math.ceil((win.count * y.dim(-1)) / 64), target.caps),
      }),
    );
  },
};

interface UnpatchifyAttrs extends Patch {
  channels: number;
  /** Channels of a token before those that are taken, and all of them. */
  first: number;
  of: number;
  /** Samples of tokens that are summed to one of the result, `samples` of them apart. */
  repeats: number;
  frames: number;
  height: number;
  width: number;
}

export const unpatchifyOp: Op<{ x: Tensor }, UnpatchifyAttrs, "y"> = {
  name: "unpatchify",
  infer({ x }, attrs) {
    const { p, pt, channels, of, repeats, frames, height, width } = attrs;
    checkSizes("unpatchify", attrs, frames, height, width);
    const [batch, tokens, values] = x.shape as [number, number, number];
    if (tokens !== (frames / pt) * (height / p) * (width / p) || values !== padTo(of * pt * p * p, 4))
      throw new CogwheelError(
        "unpatchify",
        "tokens must be [B, F/pt · H/p · W/p, C·pt·p·p padded to a multiple of 4], " +
          `got ${x} for ${of} channels and ${frames} × ${height} × ${width}`,
      );
    return { y: { shape: [batch / repeats, frames, channels, height, width], dtype: "f32" } };
  },
  cost: ({ outputs: { y } }) => ({ flops: 0, bytes: 2 * y.bytes }),
  lower({ inputs: { x }, attrs, outputs: { y } }, target) {
    const [n, , c, h, w] = y.shape as [number, number, number, number, number];
    return windows(y, w, target).map((win) =>
      dispatch({
        kernel,
        types: { X: x.dtype, E: x.dtype, Y: y.dtype },
        consts: { P: attrs.p, PT: attrs.pt, EXTRA: 0, INVERSE: 1 },
        params: {
          count: win.count * w,
          base: win.start * w,
          samples: n,
          frames: attrs.frames,
          channels: c,
          extra_channels: attrs.first,
          height: h,
          width: w,
          stride: x.dim(-1),
          repeats: x.dim(0) / n,
        },
        bindings: { x, extra: x, y: rowView(y, win, w) },
        grid: foldGrid(Math.ceil((win.count * w) / 64), target.caps),
      }),
    );
  },
};

function windows(y: Tensor, rowElements: number, { caps }: Target) {
  return rowWindows(caps, y.size / rowElements, [rowElements * bytesOf[y.dtype]]);
}
