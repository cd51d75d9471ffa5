/** `trainVae`: a VAE learns from clips, step by step, as an async iterable. What it runs is loaded with the first step. */
import { CogwheelError } from "../../base/errors.ts";
import type { DataOf } from "../batches.ts";
import type { ExportOptions } from "../export.ts";
import type { TrainableVae, TrainVaeOptions, VaeTrainingStep } from "./options.ts";
import type { GivenPixels, PixelSample } from "./sample.ts";
import type { VaeTrainingRun } from "./run.ts";

/** Steps are taken as they are asked for: `for await (const step of trainVae(…))`. Options are judged at the first one. */
export function trainVae(vae: TrainableVae, data: DataOf<GivenPixels>, options: TrainVaeOptions): VaeTraining {
  return new VaeTraining(() => import("./run.ts").then(({ VaeTrainingRun }) => VaeTrainingRun.open(vae, data, options)));
}

export class VaeTraining implements AsyncIterable<VaeTrainingStep>, AsyncDisposable {
  #run: Promise<VaeTrainingRun> | undefined;
  #ended = false;

  /** @internal `trainVae` makes it */
  constructor(private readonly begin: () => Promise<VaeTrainingRun>) {}

  #opened(): Promise<VaeTrainingRun> {
    if (this.#ended) throw new CogwheelError("training", "a run cannot be used after dispose; begin another, with resume to go on");
    return (this.#run ??= this.begin().catch((error: unknown) => {
      this.#run = undefined;
      throw error;
    }));
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<VaeTrainingStep, void, void> {
    yield* (await this.#opened()).steps();
  }

  /** Opens the run before its first step. Resolves to how many steps a resumed run had taken. */
  async open(): Promise<number> {
    return (await this.#opened()).step;
  }

  /** The run as it is between two steps: for `resume`. */
  async save(signal?: AbortSignal): Promise<Uint8Array<ArrayBuffer>> {
    return await (await this.#opened()).save(signal);
  }

  /** [3, T, H, W]: a clip by the VAE so far, or by its average where one is kept, of its latents' mean. */
  async reconstruct(sample: PixelSample, signal?: AbortSignal): Promise<Float32Array> {
    return await (await this.#opened()).reconstruct(sample, signal);
  }

  /** The mean of LPIPS over a clip's frames, of what was made of it; undefined in a run without a network. */
  async distance(sample: PixelSample, made: Float32Array, signal?: AbortSignal): Promise<number | undefined> {
    return await (await this.#opened()).distance(sample, made, signal);
  }

  /** The trained VAE so far: the files of its folder, by name. */
  async files(options: ExportOptions = {}): Promise<Record<string, Uint8Array<ArrayBuffer>>> {
    return await (await this.#opened()).files(options);
  }

  /** Frees what the run has on the device. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#ended = true;
    const run = await this.#run?.catch(() => undefined);
    run?.[Symbol.dispose]();
  }
}
