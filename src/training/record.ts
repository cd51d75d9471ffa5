/** The graphs of a transformer's training: a micro-step is forward, loss and gradients of clips of one size, or of a pack. */
import type { DifferentiateOptions } from "../gradient/differentiate.ts";
import { Graph } from "../graph/graph.ts";
import type { Node } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import type { TransformerConfig } from "../models/cogvideox/config.ts";
import { recordTransformer } from "../models/cogvideox/forward.ts";
import type { LiveLoras } from "../models/cogvideox/linear.ts";
import type { PackedCapacity } from "../models/cogvideox/packed.ts";
import { addNoise } from "../ops/add_noise.ts";
import { velocityLoss, type VelocityLossArguments } from "../ops/velocity_loss.ts";
import type { WeightProvider } from "../run/weight-provider.ts";
import type { BatchShape } from "./batch.ts";
import { recordPackedLoss, recordPackedPrediction } from "./packing/record.ts";
import { gradientsOf, standIns, type Trained } from "./parameters.ts";
import type { RecordedMicro } from "./step-graphs.ts";

/**
 * What of a block's forward pass is kept for its gradient. `none`: all of it, `blocks`: its input, from which the rest is computed once
 * more, `attention`: also what attention gave, which is most of a long sequence's work, `pairs`: the input of every second block, from
 * which two are computed once more. What blocks keep is most of a large model's memory, so that `pairs` takes least.
 */
export const CHECKPOINTING = ["none", "attention", "blocks", "pairs"] as const;
export type Checkpointing = (typeof CHECKPOINTING)[number];

/** What a micro-step's graph is recorded for: clips of one size, or a pack. */
export type MicroShape = BatchShape | PackedCapacity;

export interface Recipe {
  readonly config: TransformerConfig;
  readonly weights: Pick<WeightProvider, "type">;
  /** Storage type of activations that f16 can hold. */
  readonly dtype: "f32" | "f16";
  readonly trained: Trained;
  readonly checkpointing: Checkpointing;
}

/** The graph of a loss that nothing is learned from: what parameters as they are lose on clips of a size. */
export function lossGraph({ config, weights, dtype, trained }: Recipe, shape: BatchShape): Graph {
  const graph = new Graph("loss", (name) => weights.type(name), standIns(trained).standIn);
  graph.output("loss", recordLoss(graph, config, shape, dtype, trained.loras).loss);
  return graph;
}

/** Forward, loss and gradients of clips of one size, or of a pack. */
export function microStep({ config: c, weights, dtype, trained, checkpointing }: Recipe, s: MicroShape): RecordedMicro {
  const { parameters, standIn } = standIns(trained);
  const graph = new Graph("train", (name) => weights.type(name), standIn);
  const { prediction, gradient, loss } =
    "rows" in s ? recordPackedLoss(graph, c, s, dtype, trained.loras) : recordLoss(graph, c, s, dtype, trained.loras);
  graph.output("loss", loss);
  return { graph, gradients: gradientsOf([{ of: prediction, gradient }], parameters, checkpointed(checkpointing)) };
}

/** What the model predicts as its checkpoint has it, whatever is trained: velocities of noised clips of one size, or of a pack. */
export function untrainedGraph({ config: c, weights, dtype }: Recipe, s: MicroShape): Graph {
  const graph = new Graph("untrained", (name) => weights.type(name));
  const { prediction } = "rows" in s ? recordPackedPrediction(graph, c, s, dtype) : recordPrediction(graph, c, s, dtype);
  graph.output("velocity", prediction);
  return graph;
}

/** The forward pass and the loss of clips of one size. */
function recordLoss(
  graph: Graph,
  c: TransformerConfig,
  s: BatchShape,
  dtype: "f32" | "f16",
  loras?: LiveLoras,
): { prediction: Tensor; gradient: Tensor; loss: Tensor } {
  const of = recordPrediction(graph, c, s, dtype, loras);
  return { prediction: of.prediction, ...graph.unwatched(() => velocityLoss(of)) };
}

/** The forward pass of clips of one size, and what the loss compares it with. */
function recordPrediction(
  graph: Graph,
  c: TransformerConfig,
  s: BatchShape,
  dtype: "f32" | "f16",
  loras?: LiveLoras,
): VelocityLossArguments {
  const shape = [s.clips, s.frames, c.out_channels, s.height, s.width];
  const clean = {
    x: graph.input("latents", shape),
    noise: graph.input("noise", shape),
    // A row is a channel of a frame.
    rows: graph.constant(
      "clip.rows",
      Uint32Array.from({ length: s.clips * s.frames * c.out_channels }, (_, r) => Math.floor(r / (s.frames * c.out_channels))),
    ),
    table: graph.input("levels", [s.clips, 4]),
  };
  const conditionChannels = c.in_channels - c.out_channels;
  const prediction = recordTransformer(
    graph,
    c,
    {
      latents: addNoise(clean),
      text: graph.input("text", [s.clips, s.textLength, c.text_embed_dim]),
      timestep: graph.input("timestep", [s.clips]),
      ...(conditionChannels ? { condition: graph.input("condition", [s.clips, s.frames, conditionChannels, s.height, s.width]) } : {}),
      ...(c.ofs_embed_dim === null ? {} : { ofs: graph.input("ofs", [s.clips]) }),
    },
    dtype,
    loras,
  );
  return { ...clean, prediction };
}

/** Blocks by the scopes that they are recorded in. */
function checkpointed(what: Checkpointing): DifferentiateOptions {
  if (what === "none") return {};
  const together = what === "pairs" ? 2 : 1;
  const again = ({ scope }: Node): string | undefined => {
    const block = /^transformer_blocks\.(\d+)/.exec(scope)?.[1];
    return block && `blocks ${Math.floor(Number(block) / together)}`;
  };
  return { again, ...(what === "attention" ? { keep: ({ op }: Node) => op.name === "attention" } : {}) };
}
