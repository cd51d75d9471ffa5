/** Clips from fixed seeds while a run goes on: what the model makes of the same prompts as it learns, each as a strip of its frames. */
import { clipSize, type ClipSizes } from "../../data/clip-size.ts";
import { takesImage } from "../../data/encode.ts";
import type { ClipFolder } from "../../data/folder.ts";
import { CogVideoX } from "../../pipelines/cogvideox/pipeline.ts";
import { defined, type GenerateOptions } from "../../pipelines/options.ts";
import { LORA_FILE, WEIGHTS_FILE } from "../../training/export.ts";
import { readClip } from "../../video/clip.ts";
import { encodeVideo } from "../../video/encode.ts";
import type { Frame, RgbaFrame } from "../../video/frame.ts";
import { EMBEDDED_MODEL } from "../package-root.ts";
import type { TrainConfig } from "./config.ts";
import type { ReportedClips } from "./report.ts";
import type { RunFolder } from "./run-folder.ts";
import { firstAndLast, Samples } from "./samples.ts";

/** Frames of a strip at most. */
const MOST_FRAMES = 8;
const PROMPTS = 2;

export class Validation {
  private constructor(
    private readonly model: CogVideoX,
    private readonly folder: RunFolder,
    private readonly config: TrainConfig,
    private readonly asked: readonly GenerateOptions[],
    private readonly samples: Samples,
  ) {}

  /** @param upTo clips of later steps, which a run that was killed has made, are made again */
  static async open(
    model: CogVideoX,
    folder: RunFolder,
    config: TrainConfig,
    data: ClipFolder,
    sizes: ClipSizes,
    upTo: number,
  ): Promise<Validation> {
    const { rules, defaults } = model;
    const prompts = config.samplePrompts ?? data.rows.slice(0, PROMPTS).map(({ caption }) => caption);
    const multiple = rules.spatial * rules.patchSize;
    const size = clipSize(defaults.width, defaults.height, sizes.resolution, multiple);
    // A decoder takes latents in pairs, after the first.
    const period = 2 * rules.temporal;
    const frames = sizes.frames % period === 1 ? sizes.frames : sizes.frames - rules.temporal;
    const asked: GenerateOptions[] = [];
    for (const [i, prompt] of prompts.entries())
      asked.push({
        prompt,
        seed: i,
        ...size,
        frames,
        ...(config.sampleSteps === undefined ? {} : { steps: config.sampleSteps }),
        ...(takesImage(model) ? { image: await firstFrame(data, i, size) } : {}),
      });
    const samples = new Samples(folder, prompts.length, config.sampleEvery);
    await samples.goOn(upTo);
    return new Validation(model, folder, config, asked, samples);
  }

  /** Steps that there are clips of. */
  get steps(): readonly number[] {
    return this.samples.steps;
  }

  /** The first clips and the last few, as a report shows them. */
  async clips(): Promise<ReportedClips[]> {
    const read = await this.samples.read(firstAndLast(this.samples.steps));
    return read.map(({ step, pngs }) => ({ step, strips: pngs.map((png, i) => ({ prompt: this.asked[i]!.prompt, png })) }));
  }

  /** Makes the clips of a step, of what lies in the run's folder as its result. */
  async make(step: number, signal: AbortSignal): Promise<void> {
    const { full } = this.config;
    const pngs: Uint8Array[] = [];
    await using trained = full && step > 0 ? await this.#trained() : undefined;
    const loras = full || step === 0 ? {} : { loras: [{ adapter: this.folder.at(LORA_FILE) }] };
    for (const asked of this.asked) {
      const { frames } = await (trained ?? this.model).generate({ ...asked, ...loras, signal });
      pngs.push(await encodeVideo([stripOf(frames)], { format: "png", fps: 1 }));
    }
    await this.samples.add(step, pngs);
  }

  #trained(): Promise<CogVideoX> {
    const { model = EMBEDDED_MODEL, variant, vae } = this.config;
    return CogVideoX.open(model, {
      gpu: this.model.gpu,
      dtype: this.model.dtype,
      transformer: this.folder.at("transformer", WEIGHTS_FILE),
      ...defined({ variant, vae }),
    });
  }
}

async function firstFrame({ rows, read }: ClipFolder, index: number, size: { width: number; height: number }): Promise<Frame> {
  const { file } = rows[index % rows.length]!;
  const { frames } = await readClip(await read(file), { fps: 8, frames: 1, size: () => size, name: file });
  return frames[0]!;
}

/** Some frames of a clip beside each other. */
function stripOf(frames: readonly RgbaFrame[]): RgbaFrame {
  const count = Math.min(MOST_FRAMES, frames.length);
  const shown = Array.from({ length: count }, (_, i) => frames[Math.round((i * (frames.length - 1)) / Math.max(1, count - 1))]!);
  const [{ width, height }] = shown as [RgbaFrame];
  const data = new Uint8Array(4 * width * height * count);
  for (const [i, frame] of shown.entries())
    for (let y = 0; y < height; y++) data.set(frame.data.subarray(4 * width * y, 4 * width * (y + 1)), 4 * width * (y * count + i));
  return { width: width * count, height, data };
}
