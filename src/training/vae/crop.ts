/** Windows of clips: edges and motion are local, so that a quarter of a picture shows a VAE as much for a quarter of the work. */
import { CogwheelError } from "../../base/errors.ts";
import { spatialRatio, type VaeConfig } from "../../models/vae/config.ts";
import { drawsOf } from "../draws.ts";
import type { PixelSample } from "./sample.ts";

type Size = Pick<PixelSample, "frames" | "height" | "width">;

/** Sizes of what is learned from of a clip. @param side of the window; undefined for all of it */
export const croppedSize = ({ frames, height, width }: Size, side: number | undefined): Size =>
  side === undefined ? { frames, height, width } : { frames, height: side, width: side };

/** Why no window of a clip can be taken; undefined where one can. */
export function refusedCrop({ height, width }: Size, side: number | undefined): string | undefined {
  if (side === undefined || (height >= side && width >= side)) return undefined;
  return `a crop of ${side} × ${side} pixels must lie within the clip, got ${width} × ${height}; take larger clips, or a smaller crop`;
}

/** Throws where windows of such a side are no clips of the VAE's. */
export function checkCrop(side: number | undefined, config: VaeConfig): void {
  const ratio = spatialRatio(config);
  if (side !== undefined && !(Number.isInteger(side) && side > 0 && side % ratio === 0))
    throw new CogwheelError("training", `a crop must have sides of a multiple of ${ratio} pixels, got ${side}; choose such a number`);
}

/** Which clip of which step, and what decides the draws of the run. */
export interface CropPlace {
  readonly seed: number;
  readonly step: number;
  readonly index: number;
}

/**
 * A window of a clip, drawn anew for every step: anywhere, or, where the clip has moments, at whole latents, whose moments are cut out of
 * the clip's. Those of the encoder have then seen what lies around the window, as in use.
 */
export function cropped(sample: PixelSample, side: number | undefined, config: VaeConfig, { seed, step, index }: CropPlace): PixelSample {
  if (side === undefined || (sample.height === side && sample.width === side)) return sample;
  const { pixels, frames, height, width, moments } = sample;
  const draws = drawsOf(seed, "crop", step, index);
  const ratio = spatialRatio(config);
  const grain = moments ? ratio : 1;
  const y = draws.below((height - side) / grain + 1) * grain;
  const x = draws.below((width - side) / grain + 1) * grain;
  const size = { frames, height: side, width: side };
  const cut = windowOf(pixels, { height, width }, { y, x, side });
  if (!moments) return { ...size, pixels: cut };
  const latents = { height: height / ratio, width: width / ratio };
  return { ...size, pixels: cut, moments: windowOf(moments, latents, { y: y / ratio, x: x / ratio, side: side / ratio }) };
}

/** A square window of every plane. */
function windowOf(
  planes: Float32Array,
  { height, width }: { readonly height: number; readonly width: number },
  { y, x, side }: { readonly y: number; readonly x: number; readonly side: number },
): Float32Array {
  const count = planes.length / (height * width);
  const out = new Float32Array(count * side * side);
  for (let plane = 0; plane < count; plane++)
    for (let row = 0; row < side; row++) {
      const from = (plane * height + y + row) * width + x;
      out.set(planes.subarray(from, from + side), (plane * side + row) * side);
    }
  return out;
}
