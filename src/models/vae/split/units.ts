/**
 * A clip in units: what belongs to one latent frame. Whatever workers there are, a unit is computed by the same dispatches, and what is
 * summed over a clip is summed unit by unit, so that the bytes of the result do not depend on how units are dealt out.
 */
import { CogwheelError } from "../../../base/errors.ts";
import { encodedFrames, decodedFrames, partBatches } from "../batches.ts";
import { temporalLevels, type VaeConfig } from "../config.ts";

/** One latent frame, and what it is made of or becomes. */
export interface Unit {
  /** Number of the latent frame in the clip. */
  readonly index: number;
  /** The frame batch whose norms are shared. */
  readonly batch: number;
  /** First frame and frames of what goes in: pixels for an encoder, one latent for a decoder. */
  readonly start: number;
  readonly frames: number;
  /** Frames of what comes out. */
  readonly gives: number;
  /** Is it the first of an odd number, which is never doubled in time? */
  readonly apart: boolean;
}

/** Frames of the clip from `start` to below `end` that become the latent frame `latent` of a batch of `frames`. */
function framesOfLatent(config: VaeConfig, frames: number, latent: number): { start: number; end: number } {
  const sizes = [frames];
  for (let level = 0; level < temporalLevels(config); level++) sizes.push(Math.ceil(sizes.at(-1)! / 2));
  let [start, end] = [latent, latent + 1];
  // Backwards, level by level: of an odd number of frames the first is alone, of all others two become one.
  for (const size of sizes.slice(0, -1).reverse())
    [start, end] = [start, end].map((n) => Math.max(0, 2 * n - (size % 2))) as [number, number];
  return { start, end };
}

/** The units of a clip of so many frames (latents, for a decoder), in order. */
export function unitsOf(config: VaeConfig, part: "encode" | "decode", frames: number): Unit[] {
  const units: Unit[] = [];
  for (const [batch, { start, frames: count }] of partBatches(part, frames).entries()) {
    const latents = part === "encode" ? encodedFrames(config, count) : count;
    for (let latent = 0; latent < latents; latent++) {
      const own = part === "encode" ? framesOfLatent(config, count, latent) : { start: latent, end: latent + 1 };
      const apart = latent === 0 && latents % 2 === 1;
      units.push({
        index: units.length,
        batch,
        start: start + own.start,
        frames: own.end - own.start,
        gives: part === "encode" || apart ? 1 : 2 ** temporalLevels(config),
        apart,
      });
    }
    const given = units.filter((unit) => unit.batch === batch).reduce((n, unit) => n + unit.gives, 0);
    if (part === "decode" && given !== decodedFrames(config, count)) throw new Error(`a batch of ${count} latents gives ${given} frames`);
  }
  return units;
}

/** Units `from` to below `to` of a clip, which one worker holds. */
export interface ClipPiece {
  readonly from: number;
  readonly to: number;
}

/** As many pieces as workers, none more than one unit longer than another; more workers than units are refused. */
export function piecesOf(units: number, workers: number): ClipPiece[] {
  if (!Number.isInteger(workers) || workers < 1)
    throw new CogwheelError("vae", `workers must be a whole number from 1 up, got ${workers}; give at most one for each latent frame`);
  if (workers > units)
    throw new CogwheelError(
      "vae",
      `a clip is split in time into whole latent frames, at most ${units} for this one, got ${workers} workers; ` +
        `use ${units === 1 ? "one worker" : `up to ${units}`}, or split in space`,
    );
  return Array.from({ length: workers }, (_, i) => ({
    from: Math.floor((i * units) / workers),
    to: Math.floor(((i + 1) * units) / workers),
  }));
}

/** Pieces of so many whole frame batches, the last of what is left, at least one for each worker. */
export function batchPieces(units: readonly Unit[], size: number, workers: number): ClipPiece[] {
  const batches = units.at(-1)!.batch + 1;
  const most = Math.floor(batches / workers);
  if (!Number.isInteger(size) || size < 1 || size > most)
    throw new CogwheelError(
      "vae",
      `pieces must have a whole number of frame batches, from 1 to ${most} for this clip and ${workers} workers, got ${size}; ` +
        `use ${most < 1 ? "fewer workers" : "one of these"}`,
    );
  const count = Math.ceil(batches / size);
  const end = (piece: number): number => units.filter(({ batch }) => batch < piece * size).length;
  return Array.from({ length: count }, (_, i) => ({ from: end(i), to: end(i + 1) }));
}
