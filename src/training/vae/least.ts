/** The smallest clips that the networks of a stage can judge: what is smaller is refused before a step is taken. */
import { discriminatorConfig, leastClip } from "../../models/discriminator/config.ts";
import { leastSide } from "../../models/lpips/layers.ts";
import type { PlacedVaeStage, TrainVaeOptions } from "./options.ts";
import type { PixelSample } from "./sample.ts";

type Size = Pick<PixelSample, "frames" | "height" | "width">;

interface Least extends Size {
  /** Which network wants it. */
  readonly by: string;
}

/** Does a stage ask the discriminator, in any of its steps? */
export const asksDiscriminator = ({ discriminator }: TrainVaeOptions, { losses, before, steps }: PlacedVaeStage): boolean =>
  discriminator !== undefined && losses.disc > 0 && before + steps > (discriminator.start ?? 0);

/** What the networks of a stage want. */
export function leastOf(options: TrainVaeOptions, stage: PlacedVaeStage): Least[] {
  const { lpips, discriminator } = options;
  const all: Least[] = [];
  if (lpips && stage.losses.perceptual > 0) {
    const side = leastSide(lpips.network);
    all.push({ by: "LPIPS", frames: 1, height: side, width: side });
  }
  if (asksDiscriminator(options, stage)) all.push({ by: "the discriminator", ...leastClip(discriminatorConfig(discriminator!.config)) });
  return all;
}

/** Why a clip is too small for them, as a rule of what was got; undefined where it is not. */
export function tooSmall(least: readonly Least[], { frames, height, width }: Size): string | undefined {
  const short = least.find((one) => frames < one.frames || height < one.height || width < one.width);
  if (!short) return undefined;
  const remedy = short.by === "LPIPS" ? "take larger ones" : "take larger or longer ones, fewer taps (discKernel), or discCausal";
  return (
    `${short.by} judges clips of ${short.frames} frames of ${short.width} × ${short.height} at least, ` +
    `got ${frames} of ${width} × ${height}; ${remedy}`
  );
}
