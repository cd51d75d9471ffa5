/** Clips that are not learned from, by the VAE as it is: how near they are, and pictures of them. */
import { flicker, psnr, ssim } from "../../../training/vae/measures.ts";
import type { PixelSample } from "../../../training/vae/sample.ts";
import type { VaeTraining } from "../../../training/vae/train-vae.ts";
import { encodeVideo } from "../../../video/encode.ts";
import type { RgbaFrame } from "../../../video/frame.ts";
import { HELD_OUT, type RunFolder } from "../run-folder.ts";
import { firstAndLast, Samples } from "../samples.ts";

/** A line of the log of held-out clips: means over them. */
export interface HeldOutMeasures {
  /** After which step. */
  readonly step: number;
  readonly psnr: number;
  readonly ssim: number;
  /** Of stills, each the first frame of a clip: the mean difference from frame to frame, in levels of 255. */
  readonly flicker: number;
  readonly l1: number;
  /** In a run with a network for it. */
  readonly lpips?: number;
}

/** What was made of clips after a step; no picture where it is no more in the folder. */
export interface HeldOutPicture {
  readonly step: number;
  readonly png: Uint8Array | undefined;
}

/** Clips that are shown, and frames of each. */
const SHOWN = 2;
const MOST_FRAMES = 5;
/** A residual is shown so many times as strong, around grey. */
const AMPLIFIED = 4;

export class VaeHeldOut {
  measures: HeldOutMeasures[] = [];
  readonly #samples: Samples;

  /** @param stills clips whose frames are all their first one, encoded as such @param every steps between two measurements */
  constructor(
    private readonly clips: readonly PixelSample[],
    private readonly stills: readonly PixelSample[],
    private readonly folder: RunFolder,
    every: number,
  ) {
    this.#samples = new Samples(folder, 1, every);
  }

  /** Goes on with a run; what a run that was killed has measured of later steps is measured again. */
  async goOn(step: number): Promise<void> {
    this.measures = await this.folder.openLines<HeldOutMeasures>(HELD_OUT, step, ({ psnr }) => Number.isFinite(psnr));
    await this.#samples.goOn(step);
  }

  async measure(training: VaeTraining, step: number, signal: AbortSignal): Promise<void> {
    if (this.measures.some((one) => one.step === step)) return;
    const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / Math.max(1, values.length);
    const made: Float32Array[] = [];
    for (const clip of this.clips) made.push(await training.reconstruct(clip, signal));
    const still: number[] = [];
    for (const clip of this.stills) still.push(flicker(await training.reconstruct(clip, signal), clip));
    const distances: number[] = [];
    for (const [i, clip] of this.clips.entries()) {
      const distance = await training.distance(clip, made[i]!, signal);
      if (distance !== undefined) distances.push(distance);
    }
    const of = (measure: (made: Float32Array, clip: PixelSample) => number): number =>
      mean(this.clips.map((clip, i) => measure(made[i]!, clip)));
    const line: HeldOutMeasures = {
      step,
      psnr: of((a, { pixels }) => psnr(a, pixels)),
      ssim: of((a, clip) => ssim(a, clip.pixels, clip)),
      flicker: mean(still),
      l1: of((a, { pixels }) => a.reduce((sum, value, i) => sum + Math.abs(value - pixels[i]!), 0) / a.length),
      ...(distances.length ? { lpips: mean(distances) } : {}),
    };
    this.measures.push(line);
    await this.folder.append(HELD_OUT, line);
    const strips = this.clips.slice(0, SHOWN).flatMap((clip, i) => stripsOf(clip, made[i]!));
    const png = await encodeVideo([stacked(strips)], { format: "png", fps: 1 });
    await this.#samples.add(step, [png]);
  }

  /** Of the first measurement and the last few: originals above reconstructions above residuals. */
  async pictures(): Promise<HeldOutPicture[]> {
    const read = await this.#samples.read(firstAndLast(this.measures.map(({ step }) => step)));
    return read.map(({ step, pngs: [png] }) => ({ step, png }));
  }
}

/** Some frames beside each other: of the clip, of what was made of it, and of their difference. */
function stripsOf({ pixels, frames, height, width }: PixelSample, made: Float32Array): RgbaFrame[] {
  const count = Math.min(MOST_FRAMES, frames);
  const shown = Array.from({ length: count }, (_, i) => Math.round((i * (frames - 1)) / Math.max(1, count - 1)));
  const strip = (of: (at: number) => number): RgbaFrame => {
    const data = new Uint8Array(4 * count * width * height).fill(255);
    for (const [i, t] of shown.entries())
      for (let y = 0; y < height; y++)
        for (let x = 0; x < width; x++)
          for (let c = 0; c < 3; c++)
            data[4 * ((y * count + i) * width + x) + c] = Math.round(
              127.5 * (1 + Math.min(1, Math.max(-1, of(((c * frames + t) * height + y) * width + x)))),
            );
    return { width: count * width, height, data };
  };
  return [strip((i) => pixels[i]!), strip((i) => made[i]!), strip((i) => AMPLIFIED * (made[i]! - pixels[i]!))];
}

/** Strips below each other, on the width of the widest. */
function stacked(strips: readonly RgbaFrame[]): RgbaFrame {
  const width = Math.max(...strips.map((strip) => strip.width));
  const height = strips.reduce((sum, strip) => sum + strip.height, 0);
  const data = new Uint8Array(4 * width * height);
  let top = 0;
  for (const strip of strips) {
    for (let y = 0; y < strip.height; y++)
      data.set(strip.data.subarray(4 * strip.width * y, 4 * strip.width * (y + 1)), 4 * width * (top + y));
    top += strip.height;
  }
  return { width, height, data };
}
