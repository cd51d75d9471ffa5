/**
 * How a convolution is cut into dispatches. Each computes a range of output frames (or rows of one frame) over a range of taps in time.
 * Mostly that is everything at once. The frames whose taps reach into the cache are computed in two steps, taps on the cache and taps on
 * x, the second adding to the first; those whose taps reach into frames of zeros leave these taps out. Tensors above the binding limit are
 * computed by ranges of frames, or by rows and single taps.
 */
import { CogwheelError } from "../../base/errors.ts";
import type { Capabilities } from "../../gpu/capabilities.ts";
import type { Tensor } from "../../graph/tensor.ts";
import { MAX_DISPATCH_FLOPS } from "../../plan/dispatch.ts";
import { cut, windowFits } from "../../plan/windows.ts";
import { seen, show, taps, tapsOnX, upsampleMode, type ConvAttrs, type ConvNode } from "./geometry.ts";

/** A part of y that is computed together, and the steps over taps that compute it. */
export interface ConvPart {
  /** One batch entry, or all. */
  readonly b: number;
  readonly batches: number;
  readonly t0: number;
  readonly frames: number;
  readonly h0: number;
  readonly rows: number;
  readonly steps: readonly ConvStep[];
}
export interface ConvStep {
  readonly source: "x" | "cache";
  /** Taps in time. None: sums of nothing, which are zeros. */
  readonly from: number;
  readonly to: number;
  /** So many frames later than the part's lie what the taps are on. Default 0. */
  readonly later?: number;
}

/** What a frame of y is the sum of, by the frames that its taps lie on. */
export function stepsOf({ inputs: { x, w, cache }, attrs }: Pick<ConvNode, "inputs" | "attrs">, frame: number): readonly ConvStep[] {
  if (!cache && !attrs.zeroFrames) return [{ source: "x", from: 0, to: taps(w)[0] }];
  const { from, to } = tapsOnX(x, w, attrs, frame);
  return [
    ...(cache && from > 0 ? [{ source: "cache" as const, from: 0, to: from }] : []),
    ...(to > from ? [{ source: "x" as const, from, to }] : []),
  ];
}

/** The same sums with a step for each tap in time. */
export const tapsApart = (steps: readonly ConvStep[]): ConvStep[] =>
  steps.flatMap((s) => Array.from({ length: s.to - s.from }, (_, i) => ({ ...s, from: s.from + i, to: s.from + i + 1 })));

/** @param steps of a frame of y. Default: those of its taps */
export function partsOf(
  node: Pick<ConvNode, "inputs" | "attrs" | "outputs">,
  caps: Capabilities,
  steps = (frame: number): readonly ConvStep[] => stepsOf(node, frame),
): ConvPart[] {
  const {
    inputs: { x, w, cache, residual },
    attrs,
    outputs: { y },
  } = node;
  const [kt] = taps(w);
  const [batches, frames, rows] = y.shape as [number, number, number];
  const all: ConvStep = { source: "x", from: 0, to: kt };
  const isAll = ([step, ...others]: readonly ConvStep[]) =>
    others.length === 0 && step?.source === "x" && step.from === 0 && step.to === kt && !step.later;
  const frameSteps = Array.from({ length: frames }, (_, t) => steps(t));
  const tensors = [x, y, ...(cache ? [cache] : []), ...(residual ? [residual] : [])];
  const large = tensors.some((t) => t.bytes > caps.maxBindingBytes);
  const rowFlops = 2 * y.dim(3) * w.size;
  const maxRows = Math.max(1, Math.floor(MAX_DISPATCH_FLOPS[caps.kind] / rowFlops));
  if (!large && frameSteps.every(isAll) && batches * frames * rows <= maxRows)
    return [{ b: 0, batches, t0: 0, frames, h0: 0, rows, steps: [all] }];

  const out: ConvPart[] = [];
  for (let b = 0; b < batches; b++) {
    const fits = (range: Omit<ConvPart, "b" | "batches" | "steps">, own: readonly ConvStep[]): boolean => {
      const part = { b, batches: 1, steps: own, ...range };
      const place = outputRange(y, part);
      return (
        part.frames * part.rows <= maxRows &&
        windowFits(y, place.first, place.count, caps) &&
        (!residual || windowFits(residual, place.first, place.count, caps)) &&
        own.every((step) => {
          const source = step.source === "x" ? x : cache!;
          const needed = inputRange(source, w, attrs, part, step);
          return windowFits(source, needed.first, needed.count, caps);
        })
      );
    };
    const add = (t0: number, count: number, own: readonly ConvStep[]): void => {
      const spans = cut(count, (start, n) => fits({ t0: t0 + start, frames: n, h0: 0, rows }, own));
      if (spans) {
        for (const span of spans) out.push({ b, batches: 1, t0: t0 + span.start, frames: span.count, h0: 0, rows, steps: own });
        return;
      }
      // Not even one frame: rows of it, with all its taps or with each tap in time apart.
      const single = tapsApart(own);
      for (let t = t0; t < t0 + count; t++) {
        const bands = (taps: readonly ConvStep[]) =>
          cut(rows, (start, n) => fits({ t0: t, frames: 1, h0: start, rows: n }, taps))?.map((band) => ({
            b,
            batches: 1,
            t0: t,
            frames: 1,
            h0: band.start,
            rows: band.count,
            steps: taps,
          }));
        const found = bands(own) ?? bands(single);
        if (!found)
          throw new CogwheelError(
            "conv3d",
            `one row of a frame must fit a binding of ${caps.maxBindingBytes} bytes, ` +
              `got x ${show(x)} → ${show(y)}; choose a narrower picture or dtype f16`,
          );
        out.push(...found);
      }
    };
    for (let t = 0; t < frames; ) {
      const own = frameSteps[t]!;
      let end = t + 1;
      if (isAll(own)) while (end < frames && isAll(frameSteps[end]!)) end++;
      add(t, end - t, own);
      t = end;
    }
  }
  return out;
}

/** Vectors of `y` that a region covers. */
export function outputRange(y: Tensor, { b, batches, t0, frames, h0, rows }: ConvPart): { first: number; count: number } {
  const [, tAll, hAll, wAll, n] = y.shape as [number, number, number, number, number];
  const rowVectors = (wAll * n) / 4;
  return { first: ((b * tAll + t0) * hAll + h0) * rowVectors, count: batches * frames * rows * rowVectors };
}

/** Frame of the source under tap 0 of a part's first output frame: a cache holds the frames padded before x. */
export function frameOrigin(attrs: ConvAttrs, part: ConvPart, step: ConvStep): number {
  return (part.t0 + (step.later ?? 0)) * attrs.stride[0] - (step.source === "x" ? attrs.padFrames[0] : 0);
}

/** Vectors of the source that a region reads in one step, from the first to the last. */
export function inputRange(source: Tensor, w: Tensor, attrs: ConvAttrs, part: ConvPart, step: ConvStep): { first: number; count: number } {
  const [, kh] = taps(w);
  const [, tAll, hAll, wAll, n] = source.shape as [number, number, number, number, number];
  const [tSeen, hSeen] = seen(source, attrs);
  const t0 = frameOrigin(attrs, part, step);
  const frameOf = (t: number) => {
    const frame = Math.max(0, Math.min(t, tSeen - 1));
    return upsampleMode(source, attrs) === 0 ? frame : (frame + (upsampleMode(source, attrs) === 2 ? 1 : 0)) >> 1;
  };
  const rowOf = (h: number) => Math.max(0, Math.min(h, hSeen - 1)) >> (attrs.upsample ? 1 : 0);
  const h0 = part.h0 * attrs.stride[1] - attrs.pad[0];
  const firstFrame = frameOf(t0 + step.from * attrs.dilation);
  const lastFrame = frameOf(t0 + (part.frames - 1) * attrs.stride[0] + Math.max(step.from, step.to - 1) * attrs.dilation);
  const firstRow = rowOf(h0);
  const lastRow = rowOf(h0 + (part.rows - 1) * attrs.stride[1] + kh - 1);
  const rowVectors = (wAll * n) / 4;
  const first = ((part.b * tAll + firstFrame) * hAll + firstRow) * rowVectors;
  const end = (((part.b + part.batches - 1) * tAll + lastFrame) * hAll + lastRow + 1) * rowVectors;
  return { first, count: end - first };
}
