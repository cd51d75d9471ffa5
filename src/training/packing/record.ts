/** The forward pass and the loss of a pack: a video token is a row, whose clip says its noise level and what it counts. */
import { CogwheelError } from "../../base/errors.ts";
import type { Graph } from "../../graph/graph.ts";
import type { Tensor } from "../../graph/tensor.ts";
import type { TransformerConfig } from "../../models/cogvideox/config.ts";
import type { LiveLoras } from "../../models/cogvideox/linear.ts";
import { type PackedCapacity, recordPackedTransformer } from "../../models/cogvideox/packed.ts";
import { addNoise } from "../../ops/add_noise.ts";
import { joinColumns } from "../../ops/join_columns.ts";
import { velocityLoss, type VelocityLossArguments } from "../../ops/velocity_loss.ts";
import { rowWidth } from "./batch.ts";

/** → the prediction, the gradient of the scalar that is differentiated with respect to it, and the clips' losses [G + 1], the last one 0. */
export function recordPackedLoss(
  graph: Graph,
  c: TransformerConfig,
  capacity: PackedCapacity,
  dtype: "f32" | "f16",
  loras?: LiveLoras,
): { prediction: Tensor; gradient: Tensor; loss: Tensor } {
  const of = recordPackedPrediction(graph, c, capacity, dtype, loras);
  return { prediction: of.prediction, ...graph.unwatched(() => velocityLoss(of)) };
}

/** The forward pass alone, and what the loss compares it with. */
export function recordPackedPrediction(
  graph: Graph,
  c: TransformerConfig,
  capacity: PackedCapacity,
  dtype: "f32" | "f16",
  loras?: LiveLoras,
): VelocityLossArguments {
  const width = rowWidth(c, c.out_channels);
  if (width % 4)
    throw new CogwheelError("training", `packing takes patches whose values are a multiple of 4, got ${width}; train this model unpacked`);
  const clean = {
    x: graph.input("latents", [capacity.video, width]),
    noise: graph.input("noise", [capacity.video, width]),
    rows: graph.input("clip.rows", [capacity.video], "u32"),
    table: graph.input("levels", [capacity.clips + 1, 4]),
  };
  const noisy = addNoise(clean);
  const extra = rowWidth(c, c.in_channels - c.out_channels);
  const prediction = recordPackedTransformer(
    graph,
    c,
    capacity,
    {
      patches: extra ? joinColumns(noisy, graph.input("condition", [capacity.video, extra])) : noisy,
      text: graph.input("text", [capacity.text, c.text_embed_dim]),
      timestep: graph.input("timestep", [capacity.clips]),
      ...(c.ofs_embed_dim === null ? {} : { ofs: graph.input("ofs", [capacity.clips]) }),
    },
    dtype,
    loras,
  );
  return { ...clean, prediction };
}
