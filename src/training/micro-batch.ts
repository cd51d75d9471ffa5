/** What a micro-step learns from, clips of one size or a pack, as the trainer sees either. */
import type { TransformerConfig } from "../models/cogvideox/config.ts";
import { latentsOfRows, type PositionTables } from "../models/cogvideox/packed.ts";
import { type Batch, checkBatch, type NoiseLevels, OFS, shapeKey } from "./batch.ts";
import { capacityKey, checkPack, clipShares, packedInputs, type PackedBatch } from "./packing/batch.ts";
import type { MicroShape } from "./record.ts";

export type MicroBatch = Batch | PackedBatch;

/** What the inputs of a micro-step's graph depend on beside its clips. */
export interface InputSettings {
  /** Micro-steps of the step. */
  readonly micros: number;
  readonly lossScale: number;
  readonly tables: PositionTables;
}

export interface Micro {
  /** What its graph is recorded for, and the name that tells it from others. */
  readonly shape: MicroShape;
  readonly key: string;
  /** Of each clip. */
  readonly timesteps: readonly number[];
  /** Values of all clips' latents. */
  readonly values: number;
  /** Throws where it is not whole, or not one that the model takes. @param levels timesteps that there are */
  check(c: TransformerConfig, levels: number): void;
  inputs(c: TransformerConfig, levels: NoiseLevels, settings: InputSettings): Record<string, Float32Array | Uint32Array>;
  /** Its loss, of those of its clips. */
  loss(clips: Float32Array): number;
  /** Of each clip, in its latents' layout. @param predicted by a graph of its shape, as that has it */
  velocities(c: TransformerConfig, predicted: Float32Array): Float32Array[];
}

export const microOf = (batch: MicroBatch): Micro => ("capacity" in batch ? ofPack(batch) : ofClips(batch));

export const mean = (values: ArrayLike<number>): number => Array.from(values).reduce((a, b) => a + b, 0) / values.length;

const ofClips = (batch: Batch): Micro => ({
  shape: batch.shape,
  key: shapeKey(batch.shape),
  timesteps: batch.timesteps,
  values: batch.latents.length,
  check: (c, levels) => checkBatch(batch, c, levels),
  inputs(c, levels, { micros, lossScale }) {
    const { latents, noise, text, timesteps, condition, ofs, shape } = batch;
    return {
      latents,
      noise,
      levels: levels.table(batch, micros, lossScale),
      text,
      timestep: Float32Array.from(timesteps),
      ...(condition ? { condition } : {}),
      ...(c.ofs_embed_dim === null ? {} : { ofs: Float32Array.from(ofs ?? new Array<number>(shape.clips).fill(OFS)) }),
    };
  },
  loss: mean,
  velocities(_, predicted) {
    const each = predicted.length / batch.shape.clips;
    return batch.timesteps.map((_, i) => predicted.subarray(i * each, (i + 1) * each));
  },
});

const ofPack = (batch: PackedBatch): Micro => ({
  shape: batch.capacity,
  key: capacityKey(batch.capacity),
  timesteps: batch.clips.map(({ timestep }) => timestep),
  values: batch.clips.reduce((n, { latents }) => n + latents.length, 0),
  check: (c, levels) => checkPack(batch, c, levels),
  inputs: (c, levels, settings) => packedInputs(batch, c, levels, settings),
  loss(clips) {
    const shares = clipShares(batch);
    return clips.reduce((sum, loss, i) => sum + shares[i]! * loss, 0);
  },
  velocities(c, predicted) {
    let at = 0;
    return batch.clips.map(({ latents: { length }, shape }) => latentsOfRows(c, predicted.subarray(at, (at += length)), shape));
  },
});
