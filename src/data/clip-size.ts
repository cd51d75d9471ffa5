/** To which size and length a clip is brought: its own aspect, sides that the model can take, frames that the VAE can. */
import { CogwheelError } from "../base/errors.ts";
import type { ModelRules } from "../pipelines/settings.ts";

/** What clips are brought to. */
export interface ClipSizes {
  /** One size for all, or the length of the shorter side, to which each clip is scaled in its own aspect. */
  readonly resolution: { readonly width: number; readonly height: number } | number;
  /** The most frames: k times the VAE's temporal ratio and 1. */
  readonly frames: number;
  /** Frames a second. */
  readonly fps: number;
}

/** An aspect beyond this, either way, is cut: a clip of one row of pixels has no size. */
const MOST_ASPECT = 4;

const fail = (rule: string): never => {
  throw new CogwheelError("data", rule);
};

/** Throws for sizes that the model cannot take. */
export function checkSizes(
  { resolution, frames, fps }: ClipSizes,
  rules: Pick<ModelRules, "spatial" | "temporal" | "patchSize"> & Partial<Pick<ModelRules, "sampleWidth" | "sampleHeight">>,
  oneSize: boolean,
): void {
  const multiple = rules.spatial * rules.patchSize;
  const sides = typeof resolution === "number" ? [resolution] : [resolution.width, resolution.height];
  for (const side of sides)
    if (!Number.isInteger(side) || side < multiple || side % multiple)
      fail(
        `a side must be a multiple of ${multiple} pixels, got ${side}; ` +
          `the nearest is ${Math.max(multiple, Math.round((side || 0) / multiple) * multiple)}`,
      );
  const told = typeof resolution === "number" ? `a shorter side of ${resolution}` : `${resolution.width}x${resolution.height}`;
  if (oneSize) {
    const [width, height] = [rules.sampleWidth! * rules.spatial, rules.sampleHeight! * rules.spatial];
    if (typeof resolution === "number" || resolution.width !== width || resolution.height !== height)
      fail(`this model learned its positions for ${width}x${height} and takes no other size, got ${told}; leave it out`);
  }
  if (!Number.isInteger(frames) || frames < 1 || frames % rules.temporal !== 1)
    fail(`frames must be ${rules.temporal}·k + 1, got ${frames}; the nearest is ${wholeFrames(Math.max(1, frames || 1), rules.temporal)}`);
  if (!(fps > 0 && fps <= 240)) fail(`frames a second must be above 0 and up to 240, got ${fps}; models take 8 or 16`);
}

/** The size that a clip of `width` × `height` pixels is scaled to cover and cropped to. */
export function clipSize(
  width: number,
  height: number,
  resolution: ClipSizes["resolution"],
  multiple: number,
): { width: number; height: number } {
  if (typeof resolution !== "number") return { width: resolution.width, height: resolution.height };
  const aspect = Math.min(MOST_ASPECT, Math.max(1 / MOST_ASPECT, width / height));
  const long = Math.max(multiple, Math.round((resolution * Math.max(aspect, 1 / aspect)) / multiple) * multiple);
  return aspect >= 1 ? { width: long, height: resolution } : { width: resolution, height: long };
}

/** The most frames up to `frames` that the VAE takes: k times its ratio and 1. */
export const wholeFrames = (frames: number, temporal: number): number => Math.floor((frames - 1) / temporal) * temporal + 1;
