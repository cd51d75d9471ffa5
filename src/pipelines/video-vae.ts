/** A checkpoint's VAE by itself: videos to latents and back. */
import { expectWeights } from "../checkpoint/weight-index.ts";
import type { CheckpointSource } from "../sources/source.ts";
import { CogwheelError } from "../base/errors.ts";
import { expectFloats } from "../base/finite.ts";
import type { Gpu } from "../gpu/gpu.ts";
import { parseVaeConfig, spatialRatio, type VaeConfig } from "../models/vae/config.ts";
import { vaeWeights, type VideoShape } from "../models/vae/batches.ts";
import type { ClipTools } from "../models/vae/split/clip.ts";
import { CausalVae, type DecodedFrames, type VaeRunOptions } from "../models/vae/model.ts";
import { TorchGenerator } from "../diffusion/torch-random.ts";
import type { Fit } from "../video/fit.ts";
import { channelsOf, type Frame, type RgbaFrame } from "../video/frame.ts";
import { fromVae, toVae } from "./latent-layout.ts";
import type { LatentPosterior } from "../models/vae/posterior.ts";
import type { WeightProvider } from "../run/weight-provider.ts";
import { Opened } from "./opened.ts";
import { checkNames, defined, type OpenOptions } from "./options.ts";
import { latentFrames } from "./settings.ts";
import { Turns } from "./turns.ts";
import { placesOf, vaeRun, type VaeCallOptions } from "./vae-run.ts";
import { openingOf, type WorkerOpening, type WorkerPlace, type WorkerProcesses } from "./workers/types.ts";
import { rgbaFrames } from "./video.ts";

/** Latents of one video as a transformer has them: times the VAE's scaling factor. */
export interface VideoLatents {
  /** [frames, channels, height, width] */
  readonly data: Float32Array;
  readonly frames: number;
  readonly channels: number;
  readonly height: number;
  readonly width: number;
}

/** What `VideoVae.encode` takes beside the frames. */
export interface EncodeVideoOptions extends VaeCallOptions {
  /** Pixels; multiples of the VAE's spatial ratio (8). Default: the frames' own size, rounded down to such multiples. */
  width?: number;
  height?: number;
  /** How frames of another shape are made to fit (docs/video.md). Default `crop`. */
  fit?: Fit;
  /** How many of the frames; 8·k or 8·k + 1, so that as many come back. Default: the most that there are. */
  frames?: number;
  /** Draw the latents from the posterior with torch's generator of this seed. Default: its mean. */
  seed?: number;
}

/** What `VideoVae.decode` takes beside the latents. */
export type DecodeLatentsOptions = VaeCallOptions;

/** What `VideoVae.open` takes beside the checkpoint. */
export interface OpenVaeOptions extends Pick<OpenOptions, "gpu" | "adapter" | "tuning" | "variant" | "hub" | "vae" | "configsOnly"> {
  /** Storage type of weights and activations; sums are always f32. Default: f16 on GPUs that have it, f32 elsewhere. */
  dtype?: "f32" | "f16";
  signal?: AbortSignal;
  /** Things the user should know: weights that do not fit f16 and were kept in f32, a tuning table that does not hold here. */
  onWarning?: (message: string) => void;
}

const OPEN = ["gpu", "adapter", "tuning", "dtype", "variant", "hub", "vae", "signal", "onWarning", "configsOnly"];
const RUN = ["tiling", "signal", "checkFinite", "onProgress", "onTiling", "workers", "split", "onWorkers"];
const ENCODE = [...RUN, "width", "height", "fit", "frames", "seed"];

/** The most frames up to `available` that come back as many: 8·k or 8·k + 1 with a temporal ratio of 4. */
export function framesThatReturn(available: number, temporal: number): number {
  const period = 2 * temporal;
  const whole = Math.floor(available / period) * period;
  return available > whole ? whole + 1 : whole;
}

/** What plans ask of weights that are not read. */
const withoutWeights = (dtype: "f32" | "f16"): WeightProvider => ({
  type: () => dtype,
  stored(name) {
    throw new CogwheelError("vae", `a VAE of configs alone has no weights, got asked for ${name}; open it without configsOnly`);
  },
});

/** A VAE that is open, for training. */
export interface VaeForTraining {
  readonly gpu: Gpu;
  readonly config: VaeConfig;
  readonly weights: WeightProvider;
  readonly version: string;
}

/** A checkpoint's VAE by itself: frames to latents and back. Throws `CogwheelError`. */
export class VideoVae implements AsyncDisposable {
  private constructor(
    readonly config: VaeConfig,
    private readonly opened: Opened,
    private readonly vae: CausalVae,
    /** What worker processes open, or why they cannot. */
    private readonly opening: WorkerOpening | string,
    private readonly onWarning?: (message: string) => void,
  ) {}

  get gpu(): Gpu {
    return this.opened.gpu;
  }

  /** Storage type of weights and activations. */
  get dtype(): "f32" | "f16" {
    return this.opened.dtype;
  }

  /**
   * Opens the `vae` of a checkpoint, named as for `CogVideoX.open`, or a VAE's own folder, as its training leaves it. Weights are read by
   * the first call that needs them.
   */
  static async open(from?: string | URL | CheckpointSource, options: OpenVaeOptions = {}): Promise<VideoVae> {
    checkNames(options, OPEN, "vae");
    return await Opened.open(from, options, {
      room: "vae",
      family: "CogVideoX",
      only: ["vae"],
      alone: "AutoencoderKLCogVideoX",
      read: (checkpoint) => {
        const component = checkpoint.component("vae");
        const config = parseVaeConfig(component.config, component.configFile ?? undefined);
        if (!options.configsOnly) expectWeights(component, vaeWeights(config));
        return config;
      },
      make: async (opened, config) => {
        const { gpu, dtype } = opened;
        const vae = CausalVae.create(gpu, config, options.configsOnly ? withoutWeights(dtype) : opened.weights("vae", options), { dtype });
        return new VideoVae(config, opened, vae, openingOf(from, options, gpu, dtype), options.onWarning);
      },
    });
  }

  /** What training takes of it: its weights as the checkpoint has them, and what tells them from others. */
  async training({ onWarning }: Pick<OpenVaeOptions, "onWarning"> = {}): Promise<VaeForTraining> {
    const { gpu, opened, config } = this;
    const component = opened.checkpoint.component("vae");
    const version = (await component.weights?.version()) ?? opened.checkpoint.source.label;
    return { gpu, config, weights: opened.weights("vae", defined({ onWarning })), version };
  }

  /** The posterior of a clip's latents. @param pixels [1, 3, T, H, W] in −1…1 */
  async posterior(
    pixels: Float32Array,
    size: Omit<VideoShape, "batch">,
    options: VaeCallOptions = {},
  ): Promise<Pick<LatentPosterior, "mean" | "logvar">> {
    checkNames(options, RUN, "vae");
    const shape = { batch: 1, ...size };
    return await this.#turns.call(() =>
      this.#turns.take(options.signal, async (signal) =>
        this.vae.encode(pixels, shape, await this.#run("encode", shape, { ...options, signal })),
      ),
    );
  }

  /** Pixels a latent pixel, frames a latent frame. */
  get ratio(): { spatial: number; temporal: number } {
    return { spatial: spatialRatio(this.config), temporal: this.config.temporal_compression_ratio };
  }

  /** Frames of one size → latents. */
  encode(frames: readonly Frame[], options: EncodeVideoOptions = {}): Promise<VideoLatents> {
    return this.#turns.call(() => this.#encode(frames, { ...options }));
  }

  async #encode(frames: readonly Frame[], options: EncodeVideoOptions): Promise<VideoLatents> {
    checkNames(options, ENCODE, "vae");
    const [first] = frames;
    if (!first) throw new CogwheelError("vae", "a video must have at least one frame, got none");
    channelsOf(first);
    const { spatial, temporal } = this.ratio;
    const down = (size: number): number => Math.max(spatial, Math.floor(size / spatial) * spatial);
    const { width = down(first.width), height = down(first.height), fit = "crop", seed } = options;
    if (seed !== undefined && !Number.isSafeInteger(seed))
      throw new CogwheelError("vae", `a seed must be a whole number up to 2^53 − 1, got ${seed}; leave it out for the posterior's mean`);
    const count = options.frames ?? framesThatReturn(frames.length, temporal);
    latentFrames(count, temporal);
    if (count > frames.length)
      throw new CogwheelError("vae", `the video must have the ${count} frames that are asked for, got ${frames.length}; ask for fewer`);
    const shape = { batch: 1, frames: count, height, width };
    // Copied before its turn, as the latents of `decode` are: what the caller does with its frames then is its own.
    const own = frames.slice(0, count).map((frame) => {
      channelsOf(frame);
      return { ...frame, data: frame.data.slice() };
    });
    const posterior = await this.#turns.take(options.signal, async (signal) => {
      // A chunk of its own: most pages have no frames to encode.
      const { fitFrames } = await import("../video/fit.ts");
      const pixels = fitFrames(own, { width, height, fit });
      return await this.vae.encode(pixels, shape, await this.#run("encode", shape, { ...options, signal }));
    });
    const [, channels, latents, h, w] = posterior.shape;
    expectSize(w * spatial, h * spatial, { width, height });
    const z = seed === undefined ? posterior.mode() : posterior.sample(new TorchGenerator(seed).randn([...posterior.shape]));
    return { data: fromVae(z, posterior.shape, this.config.scaling_factor), frames: latents, channels, height: h, width: w };
  }

  /** Latents → RGBA frames. */
  decode(latents: VideoLatents, options: DecodeLatentsOptions = {}): Promise<RgbaFrame[]> {
    return this.#turns.call(() => this.#queue(latents, { ...options }));
  }

  async #queue(latents: VideoLatents, options: DecodeLatentsOptions): Promise<RgbaFrame[]> {
    checkNames(options, RUN, "vae");
    expectFloats(latents.data, "vae", "latents");
    const { data, frames, channels, height, width } = latents;
    if (channels !== this.config.latent_channels)
      throw new CogwheelError(
        "vae",
        `latents must have this VAE's ${this.config.latent_channels} channels, got ${channels}; decode them with the VAE that they are of`,
      );
    if (data.length !== frames * channels * height * width)
      throw new CogwheelError(
        "vae",
        `latents [${frames}, ${channels}, ${height}, ${width}] must have ${frames * channels * height * width} values, ` +
          `got ${data.length}; check their size`,
      );
    const own = { ...latents, data: data.slice() };
    return await this.#turns.take(options.signal, (signal) => this.#decode(own, { ...options, signal }));
  }

  async #decode({ data, frames, channels, height, width }: VideoLatents, options: DecodeLatentsOptions): Promise<RgbaFrame[]> {
    const shape = { batch: 1, frames, height, width };
    const run = await this.#run("decode", shape, options);
    const z = toVae(data, { samples: 1, frames, channels, height, width, skip: 0 }, 1 / this.config.scaling_factor);
    if (run.tiling === "reference") {
      const tiles = rgbaFrames(await this.vae.decode(z, shape, run));
      expectSize(tiles[0]!.width, tiles[0]!.height, { width: width * this.ratio.spatial, height: height * this.ratio.spatial });
      return tiles;
    }
    const out: RgbaFrame[] = [];
    await this.vae.decode(z, shape, {
      ...run,
      format: "rgba",
      onFrames: ({ frames: count, height, width, data }: DecodedFrames) => {
        for (let f = 0; f < count; f++)
          out.push({ width, height, data: (data as Uint8Array).subarray(f * width * height * 4, (f + 1) * width * height * 4) });
      },
    });
    return out;
  }

  async #run(part: "encode" | "decode", shape: VideoShape, options: VaeCallOptions): Promise<VaeRunOptions> {
    if (options.workers === undefined) {
      if (options.split !== undefined)
        throw new CogwheelError(
          "vae",
          `a clip is split over workers, got split ${options.split} without; give workers too, or leave it out`,
        );
      return vaeRun(this, part, shape, options);
    }
    const places = placesOf(options.workers);
    const [{ workersRun }, processes] = await Promise.all([import("./workers/run.ts"), import("#workers")]);
    return workersRun(this, part, shape, options, places, () => this.#workersAt(places, processes).run);
  }

  /** The worker processes of the last call, and where they are. */
  #workers: { readonly key: string; readonly processes: WorkerProcesses } | undefined;

  #workersAt(places: readonly WorkerPlace[], { startWorkers }: typeof import("#workers")): WorkerProcesses {
    const { opening } = this;
    if (typeof opening === "string") throw new CogwheelError("vae", opening);
    const key = JSON.stringify(places);
    if (this.#workers?.key !== key) {
      this.#workers?.processes[Symbol.dispose]();
      this.#workers = { key, processes: startWorkers(opening, places, this.config, this.onWarning) };
    }
    return this.#workers.processes;
  }

  /** What a worker computes its piece of a clip with. */
  get tools(): ClipTools {
    return this.vae;
  }

  /** Encodings and decodings follow each other. */
  readonly #turns = new Turns("vae", "a VideoVae");

  /** Ends what is under way, and frees everything: what `await using` does at the end of its block. */
  close(): Promise<void> {
    return this[Symbol.asyncDispose]();
  }

  /** Ends what is under way, and frees everything. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#turns.end();
    this.#workers?.processes[Symbol.dispose]();
    this.vae[Symbol.dispose]();
    await this.opened[Symbol.asyncDispose]();
  }
}

/** Reference tiling keeps parts of its tiles, which only at some sizes come to the whole. */
export function expectSize(width: number, height: number, want: { width: number; height: number }): void {
  if (width !== want.width || height !== want.height)
    throw new CogwheelError(
      "vae",
      `reference tiling of this VAE gives ${width} × ${height} pixels in place of ${want.width} × ${want.height}, ` +
        "for its overlaps do not come out even; choose another size or tiling exact",
    );
}
