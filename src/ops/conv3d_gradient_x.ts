/**
 * conv3d_gradient_x: the gradient with respect to what a convolution read, x or the cache before it: a convolution of dy with the weight
 * turned round (conv3d/phases.ts), by the kernels of conv3d itself. What x was seen as, by strides, doubling and repeated borders, is
 * computed some frames at a time and folded; without these it is written where it belongs, and frames repeated before the first add to
 * the first as further taps. Kernels: kernels/conv/.
 */
import { conv3dFold } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import { bytesOf, type DType, isFloat } from "../graph/dtype.ts";
import type { Dispatch, Node, Op, Target } from "../graph/op.ts";
import { padTo } from "../graph/packing.ts";
import { Tensor } from "../graph/tensor.ts";
import { dispatch, foldGrid } from "../plan/dispatch.ts";
import { cut, window, windowFits, wrap } from "../plan/windows.ts";
import { type ConvAttrs, outputSize, seen, show, taps, upsampleMode } from "./conv3d/geometry.ts";
import { type Convolution, lowerPart } from "./conv3d/lower.ts";
import { type ConvStep, partsOf, stepsOf } from "./conv3d/parts.ts";
import { type Phase, phasesOf } from "./conv3d/phases.ts";
import { turnedWeight } from "./conv3d/turned-weight.ts";

interface Inputs {
  dy: Tensor;
  w: Tensor;
}
interface Attrs {
  /** Of the convolution. */
  conv: ConvAttrs;
  /** Of its x. */
  shape: readonly number[];
  /** What the frames before x were: its first, zeros, a cache that has a gradient of its own. */
  front: "repeat" | "zeros" | "cache";
  of: "x" | "cache";
  dtype: DType;
}

/**
 * dy [B, T', H', W', Cout padded to 4], f32 or f16, and the convolution's w → the gradient with respect to its x, or to its cache.
 * @param shape of x
 */
export function conv3dGradientX(dy: Tensor, w: Tensor, attrs: Attrs): Tensor {
  return dy.graph.record(conv3dGradientXOp, { dy, w }, attrs).dx;
}

export const conv3dGradientXOp: Op<Inputs, Attrs, "dx"> = {
  name: "conv3d_gradient_x",
  infer({ dy, w }, { conv, shape, of, dtype }) {
    const x = xOf(dy, shape, dtype);
    const want = [shape[0], ...outputSize(x, w, conv), padTo(w.dim(0), 4)];
    if (dy.shape.join() !== want.join() || !isFloat(dy) || !isFloat(w) || shape[4] !== padTo(w.dim(1), 4))
      throw new CogwheelError(
        "conv3d_gradient_x",
        `dy must be f32 or f16 [${want.join(", ")}] for a convolution of x [${shape.join(", ")}] with w ${show(w)}, got ${show(dy)}; ` +
          "pass the convolution's own attributes",
      );
    const widest = Math.max(...phasesOf(axes(w, conv)[2], conv.replicate ? -Math.max(0, conv.pad[2]) : 0).map(({ before }) => before));
    if (widest > 7)
      throw new CogwheelError(
        "conv3d",
        `a gradient goes through kernels of up to 8 columns more than are padded on the left, got w ${show(w)} ` +
          `with ${conv.pad[2]}; pad more, or split the convolution`,
      );
    return { dx: { shape: of === "x" ? shape : [shape[0]!, conv.padFrames[0], ...shape.slice(2)], dtype } };
  },
  cost({ inputs: { dy, w }, outputs: { dx } }) {
    return { flops: 2 * (dy.size / dy.dim(-1)) * w.size, bytes: dy.bytes + w.bytes + dx.bytes };
  },
  lower(node, target) {
    const { conv } = node.attrs;
    return conv.stride.some((s) => s > 1) || conv.upsample || conv.replicate ? lowerFolded(node, target) : lowerDirect(node, target);
  },
};

type GradientNode = Node<Inputs, Attrs, "dx">;

/** The x of the convolution, of which nothing but shape and type is asked. */
const xOf = ({ graph }: Tensor, shape: readonly number[], dtype: DType) => new Tensor(graph, -1, "x", shape, dtype, "activation");

/** The convolution along time, rows and columns. */
const axes = (w: Tensor, { stride, dilation, pad, padFrames }: ConvAttrs) => {
  const [kt, kh, kw] = taps(w);
  return [
    { taps: kt, stride: stride[0], dilation, before: padFrames[0] },
    { taps: kh, stride: stride[1], dilation: 1, before: pad[0] },
    { taps: kw, stride: stride[2], dilation: 1, before: pad[2] },
  ] as const;
};

/** The convolution of dy that one phase is. */
function convolutionOf(
  dy: Tensor,
  turned: ReturnType<typeof turnedWeight>,
  [t, h, w]: readonly [Phase, Phase, Phase],
  y: Tensor,
  to?: Convolution["to"],
): Convolution {
  return {
    inputs: { x: dy, w: turned.w, bias: undefined, cache: undefined, residual: undefined },
    attrs: {
      stride: [1, 1, 1],
      dilation: t.dilation,
      pad: [h.before, 0, w.before, 0],
      replicate: false,
      padFrames: [t.before, 0],
      zeroFrames: true,
      upsample: null,
      keepFirst: true,
      activation: null,
      dtype: y.dtype,
    },
    outputs: { y },
    weights: turned.weights,
    ...(to ? { to } : {}),
  };
}

/** What no tap sees has a gradient of zeros. */
const NOTHING: readonly ConvStep[] = [{ source: "x", from: 0, to: 0 }];
const orNothing = (steps: readonly ConvStep[]): readonly ConvStep[] => (steps.length ? steps : NOTHING);

const packingsFor = ({ caps }: Target, { dy, w }: Inputs): readonly ("row" | "panel")[] =>
  caps.subgroupMatrices.length && dy.dtype === "f16" && w.dtype === "f16" ? ["row", "panel"] : ["panel"];

/** Every place of x was seen once, but for frames before the first. */
function lowerDirect({ inputs, attrs: { conv, front, of }, outputs: { dx } }: GradientNode, target: Target): Dispatch[] {
  const { dy, w } = inputs;
  const [t, h, wide] = axes(w, conv);
  const before = conv.padFrames[0];
  const phases = [phasesOf(t, of === "cache" ? -before : 0)[0]!, phasesOf(h, 0)[0]!, phasesOf(wide, 0)[0]!] as const;
  const dispatches: Dispatch[] = [];
  const convolution = convolutionOf(dy, turnedWeight(w, phases, packingsFor(target, inputs), target, dispatches), phases, dx);
  const steps = (frame: number): readonly ConvStep[] => {
    const own = (later: number) => stepsOf(convolution, frame + later).map((step) => (later ? { ...step, later } : step));
    // Frames that repeat the first add to it, one after another.
    if (frame > 0 || of === "cache" || front !== "repeat") return orNothing(own(0));
    return orNothing(Array.from({ length: before + 1 }, (_, i) => own(i - before)).flat());
  };
  const parts = partsOf(convolution, target.caps, steps).flatMap((part) => lowerPart(convolution, target, part));
  return [...dispatches, ...parts];
}

/** So much of what x was seen as is in memory at once, as far as one frame is not more. */
const SEEN_BYTES = 128 * 2 ** 20;

/** What x was seen as, phase by phase and some frames at a time, then folded. */
function lowerFolded(node: GradientNode, target: Target): Dispatch[] {
  const {
    inputs,
    attrs: { conv, shape, front, of },
    outputs: { dx },
  } = node;
  const { dy, w } = inputs;
  const { caps } = target;
  const before = conv.padFrames[0];
  const x = xOf(dx, shape, dx.dtype);
  const mode = upsampleMode(x, conv);
  const repeated = of === "x" && front === "repeat" ? before : 0;
  const border = conv.pad.map((n) => (conv.replicate ? Math.max(0, n) : 0)) as unknown as ConvAttrs["pad"];
  const [, rows, columns] = seen(x, conv);
  const [batches, frames, h, wide, channels] = dx.shape as [number, number, number, number, number];
  const [mh, mw] = [
    Math.ceil((rows + border[0] + border[1]) / conv.stride[1]),
    Math.ceil((columns + border[2] + border[3]) / conv.stride[2]),
  ];
  const [time, down, across] = axes(w, conv);
  const [phasesH, phasesW] = [phasesOf(down, -border[0]), phasesOf(across, -border[2])];
  // Sums are f32 until they are whole; what is only put in its place has the type that it gets.
  const sums = repeated > 0 || conv.upsample !== null || conv.replicate;
  const type = sums ? "f32" : dx.dtype;
  const phases = conv.stride[0] * conv.stride[1] * conv.stride[2];
  const plane = (h * wide * channels) / 4;

  /** Frames that were seen of the frames from `start` on. */
  const seenOf = (start: number, count: number): { from: number; to: number } => {
    if (of === "cache") return { from: start - before, to: start + count - before };
    const first = mode === 0 ? start : mode === 1 ? 2 * start : Math.max(0, 2 * start - 1);
    const last = start + count - 1;
    return { from: start === 0 ? -repeated : first, to: mode === 0 ? last + 1 : mode === 1 ? 2 * last + 2 : 2 * last + 1 };
  };
  const bytes = (start: number, count: number): number => {
    const { from, to } = seenOf(start, count);
    return phases * batches * Math.ceil((to - from) / conv.stride[0]) * mh * mw * channels * bytesOf[type];
  };
  const fits = (most: number) => (start: number, count: number) =>
    bytes(start, count) <= most &&
    Array.from({ length: batches }, (_, b) => windowFits(dx, (b * frames + start) * plane, count * plane, caps)).every(Boolean);
  const slices = cut(frames, fits(Math.min(SEEN_BYTES, caps.maxBindingBytes))) ?? cut(frames, fits(caps.maxBindingBytes));
  if (!slices)
    throw new CogwheelError(
      "conv3d",
      `what is seen of one frame must fit a binding of ${caps.maxBindingBytes} bytes for its gradient, got x [${shape.join(", ")}] ` +
        `and w ${show(w)}; choose a smaller picture or batch`,
    );

  const turned = new Map<string, ReturnType<typeof turnedWeight>>();
  const dispatches: Dispatch[] = [];
  for (const { start, count } of slices) {
    const { from, to } = seenOf(start, count);
    const mt = Math.ceil((to - from) / conv.stride[0]);
    const scratch = target.scratch([phases, batches, mt, mh, mw, channels], type);
    const y = target.scratch([batches, mt, mh, mw, channels], type);
    const block = y.size / 4;
    let at = 0;
    for (const t of phasesOf(time, from))
      for (const r of phasesH)
        for (const c of phasesW) {
          const empty = t.taps * r.taps * c.taps === 0;
          const own = (empty ? [t, r, c].map((p) => ({ ...p, tap: 0, step: 1, taps: 1 })) : [t, r, c]) as [Phase, Phase, Phase];
          const key = own.map((p) => [p.tap, p.step, p.taps].join()).join(" ");
          let weight = turned.get(key);
          if (!weight) turned.set(key, (weight = turnedWeight(w, own, packingsFor(target, inputs), target, dispatches)));
          const convolution = convolutionOf(dy, weight, own, y, { tensor: scratch, at });
          const steps = (frame: number) => (empty ? NOTHING : orNothing(stepsOf(convolution, frame)));
          const parts = partsOf(convolution, caps, steps).flatMap((part) => lowerPart(convolution, target, part));
          dispatches.push(...parts);
          at += block;
        }
    for (let b = 0; b < batches; b++) {
      const first = (b * frames + start) * plane;
      const written = window(dx, first, count * plane, caps);
      dispatches.push(
        dispatch({
          kernel: conv3dFold,
          types: { X: type, Y: dx.dtype },
          consts: { DOUBLED: +(conv.upsample !== null), FRAMES: of === "cache" ? 0 : mode },
          params: {
            count: count * plane,
            c4: channels / 4,
            w: wide,
            h,
            t: start,
            mh,
            mw,
            strides: conv.stride[0] | (conv.stride[1] << 4) | (conv.stride[2] << 8),
            origin: (of === "cache" ? -before : 0) - from,
            front: repeated,
            edges: border[0] | (border[1] << 8) | (border[2] << 16) | (border[3] << 24),
            block,
            x_base: (b * block) / batches,
            y_base: wrap(written.base + first),
          },
          bindings: { seen: scratch, y: written.view },
          grid: foldGrid(Math.ceil((count * plane) / conv3dFold.overrides.WG), caps),
          cost: { flops: 0, bytes: scratch.bytes / batches + count * plane * 4 * bytesOf[dx.dtype] },
        }),
      );
    }
  }
  return dispatches;
}
