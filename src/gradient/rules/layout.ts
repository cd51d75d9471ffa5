/** Gradients of ops that move values: each sends them back to where they came from, and adds up what several readers send. */
import { CogwheelError } from "../../base/errors.ts";
import type { RuleOf } from "../../graph/op.ts";
import type { Tensor } from "../../graph/tensor.ts";
import { add } from "../../ops/add.ts";
import type { embeddingOp } from "../../ops/embedding.ts";
import { embeddingGradient } from "../../ops/embedding_gradient.ts";
import { gatherRows, type gatherRowsOp } from "../../ops/gather_rows.ts";
import { mergeHeads, type mergeHeadsOp, splitHeads, type splitHeadsOp } from "../../ops/heads.ts";
import type { joinFramesOp } from "../../ops/join_frames.ts";
import type { joinTokensOp } from "../../ops/join_tokens.ts";
import { cutColumns, padColumns, padColumnsOp } from "../../ops/pad_columns.ts";
import { patchify, type patchifyOp, unpatchifyOp } from "../../ops/patchify.ts";
import { sliceTokens } from "../../ops/slice_tokens.ts";
import { transpose, type transposeOp } from "../../ops/transpose.ts";

export const embeddingRule: RuleOf<typeof embeddingOp> = {
  gradient: ({ inputs: { ids, table } }, { y }) => ({ table: embeddingGradient(ids, y!, table.dim(0)) }),
};

export const gatherRowsRule: RuleOf<typeof gatherRowsOp> = {
  gradient: ({ inputs: { index, inverse } }, { y }) => ({ x: gatherRows(y!, inverse, index) }),
};

export const splitHeadsRule: RuleOf<typeof splitHeadsOp> = {
  gradient: ({ inputs: { x } }, { y }) => ({ x: mergeHeads(y!, y!.dtype === "f32" ? "f32" : x.dtype) }),
};

export const mergeHeadsRule: RuleOf<typeof mergeHeadsOp> = {
  gradient: ({ inputs: { x } }, { y }) => ({ x: splitHeads(y!, x.dim(2), y!.dtype === "f32" ? "f32" : x.dtype) }),
};

export const joinFramesRule: RuleOf<typeof joinFramesOp> = {
  gradient({ inputs: parts }, { y: dy }, want) {
    const [batches, frames] = [dy!.dim(0), dy!.dim(1)];
    const rows = dy!.graph.reshape(dy!, [batches, frames, dy!.size / batches / frames]);
    const gradients: { [place: string]: Tensor } = {};
    let first = 0;
    for (const [place, part] of Object.entries(parts)) {
      const count = part!.dim(1);
      if (want.has(place)) gradients[place] = sliceTokens(rows, { first, count, dtype: part!.dtype });
      first += count;
    }
    return gradients;
  },
};

export const joinTokensRule: RuleOf<typeof joinTokensOp> = {
  gradient({ inputs: { text, video, position } }, { y: dy }, want) {
    const [b, t, v, d] = [text.dim(0), text.dim(1), video.dim(1), text.dim(2)];
    // Sample by sample: what all of them send together may be larger than a binding.
    const all = dy!.graph.reshape(dy!, [1, b * (t + v), d]);
    const sum = () =>
      Array.from({ length: b }, (_, i) => sliceTokens(all, { first: i * (t + v), count: t + v })).reduce((x, y) => add(x, y));
    return {
      ...(want.has("text") ? { text: sliceTokens(dy!, { first: 0, count: t, dtype: text.dtype }) } : {}),
      ...(want.has("video") ? { video: sliceTokens(dy!, { first: t, count: v, dtype: video.dtype }) } : {}),
      ...(position && want.has("position") ? { position: b === 1 ? dy! : sum() } : {}),
    };
  },
};

export const padColumnsRule: RuleOf<typeof padColumnsOp> = {
  gradient({ inputs: { x } }, { y: dy }) {
    return {
      x: x.dim(-1) < dy!.dim(-1) ? cutColumns(dy!, x.dim(-1)) : dy!.graph.record(padColumnsOp, { x: dy! }, { columns: x.dim(-1) }).y,
    };
  },
};

export const patchifyRule: RuleOf<typeof patchifyOp> = {
  gradient({ inputs: { x, extra }, attrs: { p, pt, batch } }, { y: dy }, want) {
    const [n, frames, channels, height, width] = x.shape as [number, number, number, number, number];
    const of = channels + (extra?.dim(2) ?? 0);
    const tokens = padColumns(dy!);
    const back = (first: number, taken: number) =>
      dy!.graph.record(unpatchifyOp, { x: tokens }, { p, pt, channels: taken, first, of, repeats: batch / n, frames, height, width }).y;
    return {
      ...(want.has("x") ? { x: back(0, channels) } : {}),
      ...(extra && want.has("extra") ? { extra: back(channels, extra.dim(2)) } : {}),
    };
  },
};

export const unpatchifyRule: RuleOf<typeof unpatchifyOp> = {
  gradient({ inputs: { x }, attrs: { p, pt, channels, of, repeats } }, { y: dy }) {
    if (channels < of || repeats > 1)
      throw new CogwheelError("unpatchify", "a gradient's gradient is not recorded, got one asked for; differentiate once");
    return { x: padColumns(patchify(dy!, { patchSize: p, patchSizeT: pt, dtype: x.dtype })) };
  },
};

export const transposeRule: RuleOf<typeof transposeOp> = { gradient: (_, { y }) => ({ x: transpose(y!) }) };
