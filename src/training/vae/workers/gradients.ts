/** Gradients of one half of a VAE over a clip that workers of this process share in time: the bytes of one worker. */
import { CogwheelError } from "../../../base/errors.ts";
import type { ClipTools } from "../../../models/vae/split/clip.ts";
import type { PieceOptions } from "../../../models/vae/split/exchange-graph.ts";
import { amongPeers } from "../../../models/vae/split/peer.ts";
import { inputOf, outputOf, type Deal } from "../../../models/vae/split/piece.ts";
import { PieceRun, type WorkerReport } from "../../../models/vae/split/run.ts";
import { piecesOf, unitsOf, type Unit } from "../../../models/vae/split/units.ts";
import { inputChannels, outputChannels, placeFrames, takeFrames } from "../../../models/vae/batches.ts";
import { spatialRatio } from "../../../models/vae/config.ts";
import { widen } from "../../../run/program.ts";
import { backwardPiece, cotangentOf, inputGradientOf, type PieceObjective, weightGradientOf } from "./backward.ts";

export interface ClipGradientsOptions extends Omit<PieceOptions, "format"> {
  /** Of what goes in. */
  readonly frames: number;
  readonly workers: number;
  /** Of which weights, by state-dict name. Default: of all. */
  readonly trained?: (name: string) => boolean;
  /** Losses of each unit, in place of a cotangent. */
  readonly objective?: PieceObjective;
  /** What the objective's inputs hold in the graph of a worker that has these units. */
  readonly objectiveInputs?: (units: readonly Unit[]) => Record<string, ArrayBufferView>;
  readonly signal?: AbortSignal;
}

export interface ClipGradients {
  /** What the half makes of the clip [B, C', T', H', W']. */
  readonly y: Float32Array;
  /** With respect to what went in [B, C, T, H, W]. */
  readonly dx: Float32Array;
  /** With respect to the weights, by state-dict name. */
  readonly weights: ReadonlyMap<string, Float32Array>;
  /** The objective's outputs, worker by worker. */
  readonly outputs: readonly ReadonlyMap<string, Float32Array>[];
  readonly reports: readonly WorkerReport[];
}

/**
 * Forward and backward over so many virtual workers, at once.
 * @param x [B, C, T, H, W], pixels or latents
 * @param cotangent of what the half makes of it [B, C', T', H', W']; none with an objective
 */
export async function clipGradients(
  { gpu, weights, config }: ClipTools,
  x: Float32Array,
  cotangent: Float32Array | undefined,
  { workers, trained, objective, objectiveInputs, signal, frames, ...clip }: ClipGradientsOptions,
): Promise<ClipGradients> {
  if ((cotangent === undefined) !== (objective !== undefined))
    throw new CogwheelError("training", "gradients begin with a cotangent or with an objective, got both or none; give one");
  const units = unitsOf(config, clip.part, frames);
  const deal: Deal = { units, pieces: piecesOf(units.length, workers) };
  const ratio = spatialRatio(config);
  const [inRows, outRows] = [inputChannels(config, clip.part), outputChannels(config, clip.part)];
  const plane = clip.height * clip.width;
  const madePlane = clip.part === "encode" ? plane / ratio ** 2 : plane * ratio ** 2;
  const made = units.reduce((n, unit) => n + unit.gives, 0);
  const madeAt = (unit: Unit): number => units.slice(0, unit.index).reduce((n, { gives }) => n + gives, 0);
  const y = new Float32Array(clip.batch * outRows * made * madePlane);
  const dx = new Float32Array(x.length);
  const gradients = new Map<string, Float32Array>();
  const outputs = Array.from({ length: workers }, () => new Map<string, Float32Array>());
  const defined = { ...(trained ? { trained } : {}), ...(objective ? { objective } : {}) };
  const held: PieceRun[] = [];
  try {
    for (const worker of deal.pieces.keys()) {
      const graph = backwardPiece(config, weights.provider, deal, worker, { ...clip, ...defined });
      held.push(await PieceRun.create(gpu, weights, [graph], signal ? { signal } : {}));
    }
    const reports = await amongPeers(workers, async (peer) => {
      const run = held[peer.index]!;
      const piece = deal.pieces[peer.index]!;
      const own = units.slice(piece.from, piece.to);
      const inputs: Record<string, ArrayBufferView> = {};
      for (const unit of own) {
        inputs[inputOf(unit)] = takeFrames(x, unit, frames, plane, clip.batch * inRows);
        const part = { start: madeAt(unit), frames: unit.gives };
        if (cotangent) inputs[cotangentOf(unit.index)] = takeFrames(cotangent, part, made, madePlane, clip.batch * outRows);
      }
      Object.assign(inputs, objectiveInputs?.(own));
      await run.run(0, 0, inputs, peer, signal ? { signal } : {});
      const read = async (output: string): Promise<Float32Array> => {
        const { bytes, y } = await run.read(0, output, signal);
        return widen(bytes, y.dtype);
      };
      for (const unit of own) {
        placeFrames(await read(outputOf(unit)), unit.gives, y, madeAt(unit), made, madePlane);
        placeFrames(await read(inputGradientOf(unit.index)), unit.frames, dx, unit.start, frames, plane);
      }
      const prefix = weightGradientOf("");
      const known = new Set(own.flatMap((unit) => [outputOf(unit), inputGradientOf(unit.index)]));
      for (const name of run.outputs(0))
        if (name.startsWith(prefix)) gradients.set(name.slice(prefix.length), await read(name));
        else if (!known.has(name)) outputs[peer.index]!.set(name, await read(name));
      return run.report(peer.index, piece);
    });
    return { y, dx, weights: gradients, outputs, reports };
  } finally {
    for (const run of held) run[Symbol.dispose]();
  }
}
