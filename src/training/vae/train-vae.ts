/** `trainVae`: a VAE learns from clips, step by step, as an async iterable. What it runs is loaded with the first step. */
import type { DataOf } from "../batches.ts";
import type { ExportOptions } from "../export.ts";
import { LazyRun } from "../lazy-run.ts";
import type { TrainableVae, TrainVaeOptions, VaeTrainingStep } from "./options.ts";
import type { GivenPixels, PixelSample } from "./sample.ts";
import type { VaeTrainingRun } from "./run.ts";

/** Steps are taken as they are asked for: `for await (const step of trainVae(…))`. Options are judged at the first one. */
export function trainVae(vae: TrainableVae, data: DataOf<GivenPixels>, options: TrainVaeOptions): VaeTraining {
  return new VaeTraining(() => import("./run.ts").then(({ VaeTrainingRun }) => VaeTrainingRun.open(vae, data, options)));
}

/** A run of training of a VAE: iterate it for its steps, then export what was learned. */
export class VaeTraining extends LazyRun<VaeTrainingStep, VaeTrainingRun> {
  /** [3, T, H, W]: a clip by the VAE so far, or by its average where one is kept, of its latents' mean. */
  async reconstruct(sample: PixelSample, signal?: AbortSignal): Promise<Float32Array> {
    return await (await this.opened()).reconstruct(sample, signal);
  }

  /** The mean of LPIPS over a clip's frames, of what was made of it; undefined in a run without a network. */
  async distance(sample: PixelSample, made: Float32Array, signal?: AbortSignal): Promise<number | undefined> {
    return await (await this.opened()).distance(sample, made, signal);
  }

  /** The trained VAE so far: the files of its folder, by name. */
  async files(options: ExportOptions = {}): Promise<Record<string, Uint8Array<ArrayBuffer>>> {
    return await (await this.opened()).files(options);
  }
}
