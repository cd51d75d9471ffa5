/** What a VAE learns from: clips as pixels, and how they become the inputs of a micro-step. */
import { CogwheelError } from "../../base/errors.ts";
import { expectFloats } from "../../base/finite.ts";
import { elements } from "../../base/shape.ts";
import { type DiscriminatorConfig, leastClip } from "../../models/discriminator/config.ts";
import { encodedFrames, frameBatches, LATENT_BATCH, SAMPLE_BATCH } from "../../models/vae/batches.ts";
import { spatialRatio, type VaeConfig } from "../../models/vae/config.ts";
import { drawsOf } from "../draws.ts";

/** A clip, or a picture, which is a clip of one frame. */
export interface PixelSample {
  /** [3, T, H, W] in −1…1 */
  readonly pixels: Float32Array;
  readonly frames: number;
  readonly height: number;
  readonly width: number;
  /** [2Z, T′, H′, W′]: means and log-variances of its posterior, where the encoder is not trained. */
  readonly moments?: Float32Array;
}

/** A clip that is read when it is used: a run that goes on after a break passes by what was learned from before it. */
export interface LatePixels extends Pick<PixelSample, "frames" | "height" | "width"> {
  /** The clip itself, of these sizes: the same each time that it is asked for. */
  load(): Promise<PixelSample>;
}

/** What data may give: clips, or their sizes and how to load them. */
export type GivenPixels = PixelSample | LatePixels;

export const loadedPixels = async (sample: GivenPixels): Promise<PixelSample> => ("load" in sample ? await sample.load() : sample);

/** Clips of one size. */
export interface PixelShape {
  readonly clips: number;
  readonly frames: number;
  readonly height: number;
  readonly width: number;
}

/** A small clip, which has the states of any other. @param discriminator wants some patches of it */
export function smallestOf(config: VaeConfig, discriminator?: DiscriminatorConfig): PixelShape {
  const least = discriminator ? leastClip(discriminator) : { frames: 1, height: 1, width: 1 };
  const side = spatialRatio(config);
  const period = LATENT_BATCH * config.temporal_compression_ratio;
  const up = (size: number): number => Math.ceil(size / side) * side;
  return { clips: 1, frames: Math.ceil((least.frames - 1) / period) * period + 1, height: up(least.height), width: up(least.width) };
}

/** Names what tells one compiled graph from another. */
export const pixelShapeKey = ({ clips, frames, height, width }: PixelShape): string => `${clips}×[${frames}, ${height}, ${width}]`;

/** Frames of pixels and of latents that go through the VAE together, as in use: norms are taken over them. */
export interface ClipPart {
  readonly frames: number;
  readonly latents: number;
  /** Before it. */
  readonly firstFrame: number;
  readonly firstLatent: number;
}

/** The parts of a clip; one where `whole` says so. Throws for a length that does not come back as it is. */
export function partsOfClip(c: VaeConfig, frames: number, whole = false): ClipPart[] {
  const refused = refusedLength(c, frames);
  if (refused) throw new CogwheelError("training", refused);
  const batches = whole ? [{ start: 0, frames }] : frameBatches(frames, SAMPLE_BATCH);
  let firstLatent = 0;
  return batches.map(({ start, frames }) => {
    const part = { frames, latents: encodedFrames(c, frames), firstFrame: start, firstLatent };
    firstLatent += part.latents;
    return part;
  });
}

/** Why clips of so many frames are refused; undefined where they are not. */
function refusedLength(c: VaeConfig, frames: number): string | undefined {
  const period = LATENT_BATCH * c.temporal_compression_ratio;
  if (frames % period === 1) return undefined;
  return `a VAE learns from clips of ${period}·k + 1 frames, got ${frames}; take as many as come back`;
}

/** Sizes of the latents of a clip. */
export const latentSize = (c: VaeConfig, { height, width }: Pick<PixelShape, "height" | "width">): { height: number; width: number } => ({
  height: height / spatialRatio(c),
  width: width / spatialRatio(c),
});

/** Throws where a sample is not one that the VAE takes. */
export function checkPixels({ pixels, frames, height, width, moments }: PixelSample, c: VaeConfig, name: string): void {
  const fail = (rule: string): never => {
    throw new CogwheelError("training", `${name}: ${rule}`);
  };
  const ratio = spatialRatio(c);
  if (![frames, height, width].every((n) => Number.isInteger(n) && n > 0) || height % ratio || width % ratio)
    fail(`sides must be multiples of ${ratio} pixels, got ${frames} frames of ${width} × ${height}; scale the clip`);
  const refused = refusedLength(c, frames);
  if (refused) fail(refused);
  expectFloats(pixels, "training", `${name}: pixels`);
  const size = elements([3, frames, height, width]);
  if (pixels.length !== size) fail(`pixels must fill [3, ${frames}, ${height}, ${width}], got ${pixels.length} values; correct either`);
  const latents = latentSize(c, { height, width });
  const wanted = 2 * c.latent_channels * encodedFrames(c, frames) * latents.height * latents.width;
  if (moments && moments.length !== wanted) fail(`moments must have ${wanted} values, got ${moments.length}; encode the clip anew`);
}

/** [Z, T′, H′, W′] of standard noise for a clip's posterior. @param index the clip's number among those of the step */
export const posteriorNoise = (seed: number, step: number, index: number, size: number): Float32Array =>
  drawsOf(seed, "posterior", step, index).generator.randn([size]);
