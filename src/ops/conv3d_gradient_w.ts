/**
 * conv3d_gradient_w: the gradient with respect to a convolution's weight, sums over positions of outer products of dy and of what the taps
 * saw. The sums are formed piece by piece, each a frame or some rows of one, and added in the order of the frames: where a frame's pieces
 * end depends on the picture alone, so a clip that is cut in time has the sums of the whole. Kernels: kernels/conv/.
 */
import {
  conv3dGradientWOctet,
  conv3dGradientWOctetRow,
  conv3dGradientWQuad,
  conv3dGradientWSubgroupMatrix,
  conv3dGradientWTiled,
  conv3dWeightSums,
} from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import type { Capabilities } from "../gpu/capabilities.ts";
import { bytesOf, isFloat } from "../graph/dtype.ts";
import type { Dispatch, Node, Op, Target } from "../graph/op.ts";
import { padTo } from "../graph/packing.ts";
import { Tensor } from "../graph/tensor.ts";
import { choiceKey } from "../plan/choice.ts";
import { dispatch, foldGrid, MAX_DISPATCH_FLOPS } from "../plan/dispatch.ts";
import { cut, window, windowFits, wrap } from "../plan/windows.ts";
import { type ConvAttrs, kernelBits, outputSize, seen, show, taps, upsampleMode } from "./conv3d/geometry.ts";
import { type ConvStep, inputRange, stepsOf, tapsApart } from "./conv3d/parts.ts";
import { weightGradientCandidates } from "./conv3d/weight-variants.ts";
import { tileConsts } from "./tiles/register-tile.ts";

interface Inputs {
  x: Tensor;
  dy: Tensor;
  /** The frames before x, where the convolution had them. */
  cache: Tensor | undefined;
}
interface Attrs {
  /** Of the convolution. */
  conv: ConvAttrs;
  /** Of its weight. */
  shape: readonly number[];
}

/**
 * x [B, T, H, W, Cin padded to 4] and dy [B, T', H', W', Cout padded to 4], f32 or f16 → [Cout, Cin, kt, kh, kw] f32.
 * @param attrs the convolution's, and the shape of its weight
 */
export function conv3dGradientW(inputs: Inputs, attrs: Attrs): Tensor {
  return inputs.x.graph.record(conv3dGradientWOp, inputs, attrs).dw;
}

export const conv3dGradientWOp: Op<Inputs, Attrs, "dw"> = {
  name: "conv3d_gradient_w",
  infer({ x, dy, cache }, { conv, shape }) {
    const w = weightOf(x, shape);
    const want = [x.dim(0), ...outputSize(x, w, conv), padTo(w.dim(0), 4)];
    if (
      dy.shape.join() !== want.join() ||
      !isFloat(dy) ||
      !isFloat(x) ||
      x.dim(4) !== padTo(w.dim(1), 4) ||
      (cache && cache.dtype !== x.dtype)
    )
      throw new CogwheelError(
        "conv3d_gradient_w",
        `dy must be f32 or f16 [${want.join(", ")}] for a convolution of x ${show(x)} with w [${shape.join(", ")}], got ${show(dy)}; ` +
          "pass the convolution's own attributes",
      );
    return { dw: { shape, dtype: "f32" } };
  },
  cost({ inputs: { x, dy }, outputs: { dw } }) {
    return { flops: 2 * (dy.size / dy.dim(-1)) * dw.size, bytes: x.bytes + dy.bytes + dw.bytes };
  },
  lower,
};

/** The weight of the convolution, of which nothing but the shape is asked. */
const weightOf = ({ graph }: Tensor, shape: readonly number[]) => new Tensor(graph, -1, "w", shape, "f32", "activation");

/** Workgroups that fill an adapter, and positions that one has at least: fewer are not worth a slot of sums. */
const ENOUGH = { hardware: 256, software: 16 } as const;
const POSITIONS = 128;
/** Bytes of sums that wait to be added, as far as one piece is not more. */
const SLOT_BYTES = 64 * 2 ** 20;

/** Pieces whose sums one dispatch for each step forms: consecutive ones, of frames that have the same steps. */
interface Run {
  readonly t0: number;
  readonly frames: number;
  readonly b: number;
  readonly batches: number;
  readonly chunk: number;
  readonly chunks: number;
  readonly steps: readonly ConvStep[];
}

function lower(node: Node<Inputs, Attrs, "dw">, target: Target): Dispatch[] {
  const {
    inputs: { x, dy, cache },
    attrs: { conv },
    outputs: { dw },
  } = node;
  const { caps } = target;
  const [kt, kh, kw] = taps(dw);
  const [n, cin] = [dw.dim(0), dw.dim(1)];
  const padded = x.dim(-1);
  const q = kt * kh * kw * padded;
  const [, , rows, columns] = dy.shape as [number, number, number, number];
  const exact = { n, cin, taps: [kt, kh, kw].join("×"), stride: conv.stride.join("×") };
  const half = x.dtype === "f16" && dy.dtype === "f16";
  const candidates = weightGradientCandidates(caps, { p: n, cin, taps: kt * kh * kw, row: kw === 3 && conv.stride[2] === 1, half });
  const variant = target.choose(choiceKey("conv3d_gradient_w", { m: rows * columns }, exact, [x.dtype, dy.dtype]), candidates);
  const tiles = Math.ceil(n / variant.bm) * Math.ceil(q / variant.bn);
  const chunkRows = rowsOfChunk(node, tiles, caps);
  const chunks = Math.ceil(rows / chunkRows);
  const partBytes = 4 * n * q;
  // Enough tiles to fill the adapter: one slot, to which a workgroup adds piece after piece. Else a slot a piece, as many as fit.
  const most = tiles >= ENOUGH[caps.kind] ? 1 : Math.max(1, Math.floor(Math.min(SLOT_BYTES, caps.maxBindingBytes) / partBytes));
  const runs = runsOf(node, chunkRows, chunks, most === 1 ? Infinity : most, caps);
  const slots = most === 1 ? 1 : Math.max(...runs.map(piecesOf));
  const sums = target.scratch([slots, n, q], "f32");
  return runs.flatMap((run, i) => {
    const formed = run.steps.map((step) => form(run, step, slots === 1 && i > 0));
    // With one slot the sums are whole when the last run is done.
    if (slots === 1 && i + 1 < runs.length) return formed;
    const count = slots === 1 ? 1 : piecesOf(run);
    return [
      ...formed,
      dispatch({
        kernel: conv3dWeightSums,
        consts: { ACCUMULATE: +(slots > 1 && i > 0) },
        params: { count: n * cin, cin, padded, taps: kt * kh * kw, slots: count, part: n * q },
        bindings: { x: sums, y: dw },
        grid: foldGrid(Math.ceil((n * cin) / conv3dWeightSums.overrides.WG), caps),
        cost: { flops: count * dw.size, bytes: count * partBytes + dw.bytes },
      }),
    ];
  });

  /** The sums of a run under a step's taps. @param accumulate to those of the runs before */
  function form(run: Run, step: ConvStep, accumulate: boolean): Dispatch {
    const source = step.source === "x" ? x : cache!;
    const [from, looked] = [dyRange(dy, run, chunkRows), xRange(source, dw, conv, run, step, chunkRows)];
    const given = window(dy, from.first, from.count, caps);
    const read = window(source, looked.first, looked.count, caps);
    const [, tOut] = dy.shape as [number, number];
    const [, hIn, wIn] = seen(source, conv);
    const pieces = piecesOf(run);
    const columnsHere = ((step.to - step.from) * kh * kw * padded) / 4;
    const own = Math.ceil(n / variant.bm) * Math.ceil((4 * columnsHere) / variant.bn);
    const plane = (rows * columns * dy.dim(-1)) / 4;
    const t0 = run.t0 * conv.stride[0] - (step.source === "x" ? conv.padFrames[0] : 0);
    const types = { G: dy.dtype, X: source.dtype };
    const switches = {
      REPLICATE: +conv.replicate,
      ZERO_FRAMES: +conv.zeroFrames,
      DOUBLED: +(conv.upsample !== null),
      FRAMES: upsampleMode(source, conv),
      ACCUMULATE: +accumulate,
    };
    const common = {
      params: {
        h_out: rows,
        w_out: columns,
        t_out: tOut,
        t_in: source.dim(1),
        h_in: hIn,
        w_in: wIn,
        p4: dy.dim(-1) / 4,
        cin4: padded / 4,
        p: n,
        q4: columnsHere,
        q_first: (step.from * kh * kw * padded) / 4,
        tiles: own,
        groups: own * (slots === 1 ? 1 : pieces),
        pieces,
        each: slots === 1 ? pieces : 1,
        batches: run.batches,
        chunks: run.chunks,
        first_chunk: run.chunk,
        chunk_rows: chunkRows,
        t_origin: t0,
        h_origin: -conv.pad[0],
        kernel: kernelBits(dw, conv),
        dy_base: wrap(given.base + (run.b * tOut + run.t0) * plane),
        x_base: wrap(read.base + (run.b * source.size) / source.dim(0) / 4),
        part4: (n * q) / 4,
        stride4: q / 4,
      },
      bindings: { dy: given.view, x: read.view, y: sums },
      grid: foldGrid(own * (slots === 1 ? 1 : pieces), caps),
    };
    if (variant.name === "octet_row")
      return dispatch({ kernel: conv3dGradientWOctetRow, ...common, types, consts: switches, overrides: { WG: variant.wg } });
    if (variant.name === "octet")
      return dispatch({ kernel: conv3dGradientWOctet, ...common, types, consts: switches, overrides: { WG: variant.wg } });
    if (variant.name === "quad")
      return dispatch({ kernel: conv3dGradientWQuad, ...common, types, consts: switches, overrides: { WG: variant.wg } });
    if (variant.name === "subgroup_matrix") {
      const consts = { ...switches, WHOLE: +(columns % 8 === 0), ...variant.consts };
      return dispatch({ kernel: conv3dGradientWSubgroupMatrix, ...common, consts });
    }
    return dispatch({ kernel: conv3dGradientWTiled, ...common, types, consts: { ...switches, ...tileConsts(variant) } });
  }
}

const piecesOf = ({ frames, batches, chunks }: Run): number => frames * batches * chunks;

/** Vectors of dy under a run. */
function dyRange(dy: Tensor, { t0, frames, b, batches, chunk, chunks }: Run, chunkRows: number): { first: number; count: number } {
  const [, t, h, w, n] = dy.shape as [number, number, number, number, number];
  const row = (w * n) / 4;
  const first = ((b * t + t0) * h + chunk * chunkRows) * row;
  const end = (((b + batches - 1) * t + t0 + frames - 1) * h + Math.min(h, (chunk + chunks) * chunkRows)) * row;
  return { first, count: end - first };
}

/** Vectors of the source that it looks at. */
function xRange(source: Tensor, w: Tensor, conv: ConvAttrs, run: Run, step: ConvStep, chunkRows: number): { first: number; count: number } {
  const { t0, frames, b, batches } = run;
  const rows = run.chunks * chunkRows;
  return inputRange(source, w, conv, { b, batches, t0, frames, h0: run.chunk * chunkRows, rows, steps: [step] }, step);
}

/**
 * Rows of a frame that are summed as one: as many as a dispatch may compute and bind, and no more than leave work for all of an adapter.
 * Asks nothing about other frames.
 */
function rowsOfChunk(
  { inputs: { x, dy }, attrs: { conv }, outputs: { dw } }: Node<Inputs, Attrs, "dw">,
  tiles: number,
  caps: Capabilities,
): number {
  const [, , rows, columns, n] = dy.shape as [number, number, number, number, number];
  const kh = taps(dw)[1];
  const wanted = Math.ceil(ENOUGH[caps.kind] / tiles);
  const chunks = Math.max(1, Math.min(wanted, Math.floor((rows * columns) / POSITIONS), rows));
  const flops = 2 * columns * dw.size;
  const xRow = x.dim(3) * x.dim(4) * bytesOf[x.dtype];
  const frames = (taps(dw)[0] - 1) * conv.dilation + 1;
  const fits = (count: number): boolean => {
    const under = Math.min(x.dim(2), (count - 1) * conv.stride[1] + kh + 1);
    // Taps in time are bound together, and lie whole frames apart.
    const bound = xRow * (under + x.dim(2) * (Math.min(frames, x.dim(1)) - 1));
    return (
      count * flops <= MAX_DISPATCH_FLOPS[caps.kind] &&
      count * columns * n * bytesOf[dy.dtype] + caps.offsetAlignment <= caps.maxBindingBytes &&
      bound + caps.offsetAlignment <= caps.maxBindingBytes
    );
  };
  let count = Math.ceil(rows / chunks);
  while (count > 1 && !fits(count)) count = Math.floor(count / 2);
  return count;
}

/** All pieces in their order, in runs that can be bound and computed at once. @param most pieces of a run */
function runsOf(node: Node<Inputs, Attrs, "dw">, chunkRows: number, chunks: number, most: number, caps: Capabilities): Run[] {
  const {
    inputs: { x, dy, cache },
    attrs: { conv },
    outputs: { dw },
  } = node;
  const [batches, frames, , columns] = dy.shape as [number, number, number, number];
  const stepsAt = (frame: number): readonly ConvStep[] => {
    // Frames of zeros are left to the kernel, which knows where x ends.
    if (!cache) return [{ source: "x", from: 0, to: taps(dw)[0] }];
    const own = stepsOf({ inputs: { x, w: dw, cache, bias: undefined, residual: undefined }, attrs: conv }, frame);
    const behind = own.findLast(({ source }) => source === "cache")?.to ?? 0;
    return [
      ...own.filter(({ source }) => source === "cache"),
      ...(behind < taps(dw)[0] ? [{ source: "x" as const, from: behind, to: taps(dw)[0] }] : []),
    ];
  };
  const fits = (run: Run): boolean => {
    const from = dyRange(dy, run, chunkRows);
    const flops = 2 * Math.min(run.chunks * chunkRows, dy.dim(2)) * run.frames * run.batches * columns * dw.size;
    return (
      piecesOf(run) <= most &&
      flops <= MAX_DISPATCH_FLOPS[caps.kind] &&
      windowFits(dy, from.first, from.count, caps) &&
      run.steps.every((step) => {
        const source = step.source === "x" ? x : cache!;
        const looked = xRange(source, dw, conv, run, step, chunkRows);
        return windowFits(source, looked.first, looked.count, caps);
      })
    );
  };
  const all = { b: 0, batches, chunk: 0, chunks };
  const out: Run[] = [];
  for (let t = 0; t < frames; ) {
    const steps = stepsAt(t);
    let end = t + 1;
    while (end < frames && stepsAt(end).length === 1 && steps.length === 1 && stepsAt(end)[0]!.source === steps[0]!.source) end++;
    const spans = cut(end - t, (start, count) => fits({ t0: t + start, frames: count, ...all, steps }));
    if (spans) out.push(...spans.map(({ start, count }) => ({ t0: t + start, frames: count, ...all, steps })));
    else
      for (let at = t; at < end; at++)
        for (let b = 0; b < batches; b++) {
          const one = (chunk: number, count: number): Run => ({ t0: at, frames: 1, b, batches: 1, chunk, chunks: count, steps });
          // A chunk was made to fit; where bindings are smaller than what its taps in time span, taps are summed apart.
          const bands = cut(chunks, (start, count) => fits(one(start, count)));
          if (bands) out.push(...bands.map(({ start, count }) => one(start, count)));
          else out.push(...apart(one, chunks, fits, dw, x));
        }
    t = end;
  }
  return out;
}

/** Chunks of one frame, with each tap in time a step of its own. */
function apart(one: (chunk: number, count: number) => Run, chunks: number, fits: (run: Run) => boolean, dw: Tensor, x: Tensor): Run[] {
  return Array.from({ length: chunks }, (_, chunk) => {
    const run = one(chunk, 1);
    const steps = tapsApart(run.steps);
    if (!fits({ ...run, steps }))
      throw new CogwheelError(
        "conv3d",
        `a row of a frame must fit a binding for the gradient of w ${show(dw)}, got x ${show(x)}; choose a narrower picture or dtype f16`,
      );
    return { ...run, steps };
  });
}
