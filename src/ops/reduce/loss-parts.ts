/** Losses that are sums over frames: each frame's in chunks, then the chunks in their order, so that a frame's loss is its own. */
import type { Target } from "../../graph/op.ts";
import type { Tensor } from "../../graph/tensor.ts";
import { sumParts } from "./parts.ts";

/** Values of a chunk: enough for the threads of its workgroup, few enough that a frame fills a GPU. */
const CHUNK = 4096;

export interface LossChunks {
  readonly chunk: number;
  readonly chunks: number;
  /** [chunks, rows] */
  readonly parts: Tensor;
}

/** Chunks of rows of so many values; how a row is cut depends on nothing else. */
export function lossChunks(rows: number, width: number, target: Target): LossChunks {
  const chunks = Math.ceil(width / CHUNK);
  return { chunk: CHUNK, chunks, parts: target.scratch([chunks, rows], "f32") };
}

/** loss [rows] from the parts. */
export const sumLoss = ({ parts }: LossChunks, loss: Tensor, { caps }: Target) =>
  sumParts(caps, parts, loss, { columns: loss.size, stride: loss.size });
