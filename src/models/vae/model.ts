/** The causal VAE with its weights on the GPU: videos to latents and back, batch of frames by batch of frames. */
import { CogwheelError } from "../../base/errors.ts";
import { CHECK_FINITE, expectFinite, expectFloats } from "../../base/finite.ts";
import type { Gpu } from "../../gpu/gpu.ts";
import { compile, type CompileOptions, type Plan } from "../../plan/compile.ts";
import type { Graph } from "../../graph/graph.ts";
import type { Tensor } from "../../graph/tensor.ts";
import { becomesPixels } from "../../ops/pixels.ts";
import { Arenas } from "../../run/arenas.ts";
import { fitting } from "../../run/misfit.ts";
import { Program, type RunOptions } from "../../run/program.ts";
import { States } from "../../run/states.ts";
import { Streamer } from "../../run/streamer.ts";
import { planFor, WeightStore, type LoadOptions } from "../../run/weight-store.ts";
import type { WeightProvider } from "../../run/weight-provider.ts";
import { spatialRatio, type VaeConfig } from "./config.ts";
import type { ExactLimits, TilingReport } from "./exact/run.ts";
import type { ClipRunner } from "./split/clip.ts";
import type { WorkerReport } from "./split/run.ts";
import { tilingOf, type ExactTiling } from "./tiling.ts";
import {
  checkVideoShape,
  decodedFrames,
  encodedFrames,
  frameBatches,
  inputChannels,
  LATENT_BATCH,
  partBatches,
  placeFrames,
  SAMPLE_BATCH,
  takeFrames,
  vaeGraphs,
  type DecodedFormat,
  type VideoShape,
} from "./batches.ts";
import { LatentPosterior } from "./posterior.ts";
import { tileAxes, tileWork, type HostVideo, type Tiling } from "./reference-tiling.ts";

/** Which weights are streamed is for all of its programs. */
export interface CausalVaeOptions extends CompileOptions {
  /** Storage type of activations that f16 can hold. The weights' own is the provider's choice. Default f32. */
  dtype?: "f32" | "f16";
}

/** A batch of decoded frames; `data` is theirs alone and may be kept. */
export interface DecodedFrames {
  /** Number of the first frame in the video, and how many. */
  readonly start: number;
  readonly frames: number;
  readonly height: number;
  readonly width: number;
  /** [B, 3, frames, H, W] for `sample`, [B, frames, H, W, 3] for `frames`, bytes [B, frames, H, W, 4] for `rgba`. */
  readonly data: Float32Array | Uint8Array;
}

export interface VaeRunOptions extends Pick<RunOptions, "signal" | "profile" | "checkFinite" | "observe" | "onProgress"> {
  /**
   * For pictures that are too large for the adapter. `exact`: part by part with the result of the whole, activations going to host memory
   * in between. `reference`, or the arguments of diffusers' `enable_tiling`: overlapping tiles, each by itself and blended, which is
   * another result. Default: the whole picture at once.
   */
  tiling?: Tiling | "reference" | "exact" | ExactTiling;
  /** What exact tiling took, when it is done. */
  onTiling?: (report: TilingReport) => void;
  /**
   * Splits the clip over so many virtual workers of this process, or over those of a runner (docs/vae.md); the bytes of the result do not
   * depend on how many, and are within rounding those without. Not with tiling.
   */
  workers?: number | ClipRunner;
  /** Do workers hold frames of the clip, or rows? Default time. */
  split?: "time" | "space";
  /** What each worker took, when all are done. */
  onWorkers?: (reports: readonly WorkerReport[]) => void;
}

export interface VaeDecodeOptions extends VaeRunOptions {
  /** Takes the frames as they come, while the next ones are computed; the call's own result is then empty. */
  onFrames?: (part: DecodedFrames) => void | Promise<void>;
  /**
   * In place of `onFrames`: takes RGBA frames where they lie on the device, one after another in `buffer`, which the next batch overwrites;
   * what is to be kept is copied by commands submitted before it returns. Not with tiling, whose frames are on the host.
   */
  onDevice?: (part: Omit<DecodedFrames, "data"> & { readonly buffer: GPUBuffer }) => void;
  /** What `onFrames` gets. Default `sample`. */
  format?: DecodedFormat;
}

/** What `prepare` is told. */
export interface PrepareOptions extends LoadOptions {
  /** Of what a decoder gives. Default `sample`. */
  format?: DecodedFormat;
  /** The plans on this adapter, where they were made already; those for weights that are stored otherwise are made again. */
  plans?: readonly Plan[];
}

interface Session {
  readonly key: string;
  /** For the first batch and, if there are more, the others. */
  readonly programs: readonly Program[];
  /** The programs, and what both share, for they run one after the other: activations, what the convolutions keep, streamed weights. */
  readonly held: readonly Disposable[];
}

export class CausalVae implements Disposable {
  #sessions = new Map<"encode" | "decode", Session>();
  #disposed = false;

  private constructor(
    readonly gpu: Gpu,
    readonly config: VaeConfig,
    readonly dtype: "f32" | "f16",
    readonly weights: WeightStore,
    private readonly streaming: CompileOptions,
  ) {}

  /** Weights are read when the first video of a kind (encode, decode) needs them. Dispose of it to free them. */
  static create(gpu: Gpu, config: VaeConfig, provider: WeightProvider, { dtype = "f32", ...streaming }: CausalVaeOptions = {}): CausalVae {
    return new CausalVae(gpu, config, dtype, new WeightStore(gpu, provider), streaming);
  }

  /** Compiles and loads what a video (latents) of this size needs, so that the run itself starts at once. */
  async prepare(part: "encode" | "decode", shape: VideoShape, options: PrepareOptions = {}): Promise<void> {
    const { format = "sample", plans, ...load } = options;
    this.#assertAlive();
    checkVideoShape(this.config, part, shape);
    await this.#session(part, shape, format, load, plans);
  }

  /**
   * Latents [B, Z, T, H, W], already divided by the scaling factor → frames [B, 3, T', 8H, 8W] in about −1…1, or nothing when
   * `onFrames` takes them.
   */
  async decode(
    latents: Float32Array,
    shape: VideoShape,
    options: VaeDecodeOptions = {},
  ): Promise<{ data: Float32Array; shape: readonly number[] }> {
    const { config } = this;
    const { onFrames, onDevice, format = onDevice ? "rgba" : "sample", tiling, onTiling, ...run } = options;
    const { batch } = shape;
    this.#check("decode", latents, shape, config.latent_channels);
    if (onDevice && (onFrames || tiling || run.workers !== undefined || format !== "rgba"))
      throw new CogwheelError(
        "vae",
        "frames stay on the device as rgba, without onFrames, tiling and workers, " +
          `got ${onFrames ? "onFrames" : tiling ? "tiling" : run.workers !== undefined ? "workers" : format}; leave it out`,
      );
    if (format !== "sample" && !onFrames && !onDevice)
      throw new CogwheelError("vae", `frames of format ${format} are delivered to onFrames, got none; pass it or take format "sample"`);
    using _busy = this.#begin();
    const how = tilingOf(tiling, run.workers !== undefined);
    const axes = how && "reference" in how ? tileAxes(config, "decode", shape, how.reference) : null;
    if (axes) {
      if (onFrames) throw new CogwheelError("vae", "tiles are blended when all are there, got onFrames; decode to a sample without it");
      const video = await tileWork({ data: latents, rows: batch * config.latent_channels, ...shape }, axes, run, async (tile, options) => {
        const {
          data,
          shape: [, , frames, height, width],
        } = await this.#decode(tile.data, { batch, frames: tile.frames, height: tile.height, width: tile.width }, options, null);
        return { data, rows: batch * config.out_channels, frames: frames!, height: height!, width: width! };
      });
      return { data: video.data, shape: [batch, config.out_channels, video.frames, video.height, video.width] };
    }
    return await this.#decode(
      latents,
      shape,
      { ...run, format, ...(onFrames ? { onFrames } : {}), ...(onDevice ? { onDevice } : {}), ...(onTiling ? { onTiling } : {}) },
      how && "exact" in how ? how.exact : null,
    );
  }

  /** All of a picture, at once or part by part. */
  async #decode(
    latents: Float32Array,
    shape: VideoShape,
    options: Omit<VaeDecodeOptions, "tiling">,
    exact: ExactLimits | null,
  ): Promise<{ data: Float32Array; shape: readonly number[] }> {
    const { config } = this;
    const { onFrames, onDevice, format = "sample", onTiling, ...run } = options;
    const { batch } = shape;
    const ratio = spatialRatio(config);
    const [height, width] = [shape.height * ratio, shape.width * ratio];
    const batches = frameBatches(shape.frames, LATENT_BATCH);
    const total = batches.reduce((n, b) => n + decodedFrames(config, b.frames), 0);
    const whole = onFrames || onDevice ? new Float32Array(0) : new Float32Array(batch * config.out_channels * total * height * width);
    let start = 0;
    let delivering: Promise<void> | undefined;
    await this.#batches(
      "decode",
      latents,
      shape,
      { ...run, format, exact, onDevice: onDevice !== undefined, ...(onTiling ? { onTiling } : {}) },
      async (bytes, y) => {
        const frames = y.shape[format === "sample" ? 2 : 1]!;
        if (onDevice) {
          onDevice({ start, frames, height, width, buffer: bytes as GPUBuffer });
          start += frames;
          return;
        }
        if (onFrames) {
          await delivering;
          delivering = (async () =>
            onFrames({
              start,
              frames,
              height,
              width,
              data: format === "rgba" ? new Uint8Array(bytes as ArrayBuffer) : new Float32Array(bytes as ArrayBuffer),
            }))();
          delivering.catch(() => undefined);
        } else placeFrames(new Float32Array(bytes as ArrayBuffer), frames, whole, start, total, height * width);
        start += frames;
      },
    );
    await delivering;
    return { data: whole, shape: [batch, config.out_channels, total, height, width] };
  }

  /** Video [B, 3, T, H, W] in −1…1 → the posterior over latents [B, Z, T', H/8, W/8], before scaling. */
  async encode(video: Float32Array, shape: VideoShape, options: VaeRunOptions = {}): Promise<LatentPosterior> {
    const { config } = this;
    this.#check("encode", video, shape, config.in_channels);
    const { tiling, ...run } = options;
    using _busy = this.#begin();
    const how = tilingOf(tiling, run.workers !== undefined);
    const axes = how && "reference" in how ? tileAxes(config, "encode", shape, how.reference) : null;
    const { batch } = shape;
    const moments = axes
      ? await tileWork({ data: video, rows: batch * config.in_channels, ...shape }, axes, run, (tile, options) =>
          this.#moments(tile.data, { batch, frames: tile.frames, height: tile.height, width: tile.width }, options, null),
        )
      : await this.#moments(video, shape, run, how && "exact" in how ? how.exact : null);
    return LatentPosterior.fromMoments(moments.data, [batch, 2 * config.latent_channels, moments.frames, moments.height, moments.width]);
  }

  async #moments(
    video: Float32Array,
    shape: VideoShape,
    options: Omit<VaeRunOptions, "tiling">,
    exact: ExactLimits | null,
  ): Promise<HostVideo> {
    const { config } = this;
    const frames = frameBatches(shape.frames, SAMPLE_BATCH).reduce((n, b) => n + encodedFrames(config, b.frames), 0);
    const ratio = spatialRatio(config);
    const [rows, height, width] = [
      shape.batch * 2 * config.latent_channels,
      Math.floor(shape.height / ratio),
      Math.floor(shape.width / ratio),
    ]; // a tile at the border may be cut anywhere
    const data = new Float32Array(rows * frames * height * width);
    let start = 0;
    await this.#batches("encode", video, shape, { ...options, format: "sample", exact }, async (bytes, y) => {
      const batch = y.shape[2]!;
      placeFrames(new Float32Array(bytes as ArrayBuffer), batch, data, start, frames, height * width);
      start += batch;
    });
    return { data, rows, frames, height, width };
  }

  #busy = false;
  /** A run has its memory to itself. */
  #begin(): Disposable {
    this.#assertAlive();
    if (this.#busy)
      throw new CogwheelError(
        "vae",
        "a CausalVae runs one video at a time, got a second one while the first is running; await it, or create another",
      );
    this.#busy = true;
    return {
      [Symbol.dispose]: () => {
        this.#busy = false;
      },
    };
  }

  #assertAlive(): void {
    if (this.#disposed) throw new CogwheelError("vae", "a CausalVae cannot be used after dispose; create it again");
  }

  #check(part: "encode" | "decode", data: Float32Array, shape: VideoShape, channels: number): void {
    this.#assertAlive();
    checkVideoShape(this.config, part, shape);
    const sizes = [shape.batch, channels, shape.frames, shape.height, shape.width];
    const expected = sizes.reduce((a, b) => a * b);
    if (data.length !== expected)
      throw new CogwheelError("vae", `${part} takes [${sizes.join(", ")}] = ${expected} values, got ${data.length}; check the size`);
    expectFloats(data, "vae", part === "encode" ? "the video" : "the latents");
  }

  /** Programs for a size; the last size of each kind is kept. */
  async #session(
    part: "encode" | "decode",
    shape: VideoShape,
    format: DecodedFormat,
    load: LoadOptions,
    planned: readonly Plan[] = [],
  ): Promise<Session> {
    const { batch, frames, height, width } = shape;
    const key = [batch, frames, height, width, format].join(" ");
    const kept = this.#sessions.get(part);
    if (kept?.key === key) return kept;
    this.#forget(part);
    const session = await fitting(() => this.#makeSession(key, part, shape, format, load, planned));
    this.#sessions.set(part, session);
    if (this.#disposed) this.#forget(part);
    this.#assertAlive();
    return session;
  }

  async #makeSession(
    key: string,
    part: "encode" | "decode",
    { batch, frames, height, width }: VideoShape,
    format: DecodedFormat,
    load: LoadOptions,
    planned: readonly Plan[],
  ): Promise<Session> {
    const { graphs } = vaeGraphs(this.config, this.weights.provider, { part, batch, frames, height, width, format, dtype: this.dtype });
    const plans: Plan[] = graphs.map(
      (graph, i) => planFor(planned[i], { type: graph.weightType }) ?? compile(graph, this.gpu.caps, planned[i]?.options ?? this.streaming),
    );
    const programs: Program[] = [];
    // From the first of them on, for an adapter may say only later that it had no room.
    const held: Disposable[] = [];
    const hold = <T extends Disposable>(made: T): T => (held.unshift(made), made);
    try {
      const shared = await this.gpu.scoped(`preparing vae.${part}`, () => ({
        arenas: hold(new Arenas(this.gpu, plans)),
        states: hold(new States(this.gpu, plans)),
        streamer: hold(new Streamer(this.gpu, this.weights, plans)),
      }));
      for (const [i, plan] of plans.entries()) {
        const onProgress = (done: number, total: number) => load.onProgress?.((i + done / total) / plans.length, 1);
        programs.push(hold(await Program.create(this.gpu, plan, this.weights, { ...load, onProgress, ...shared })));
      }
      return { key, programs, held };
    } catch (error) {
      for (const one of held) one[Symbol.dispose]();
      throw error;
    }
  }

  /**
   * Frame batch after frame batch: `collect` gets each one's output, as bytes (or as the
   * buffer they lie in) and as the tensor they are.
   */
  async #batches(
    part: "encode" | "decode",
    data: Float32Array,
    shape: VideoShape,
    options: Omit<VaeRunOptions, "tiling"> & { format: DecodedFormat; exact: ExactLimits | null; onDevice?: boolean },
    collect: (bytes: ArrayBuffer | GPUBuffer, y: Pick<Tensor, "shape">) => Promise<void>,
  ): Promise<void> {
    const { config } = this;
    const { batch, frames, height, width } = shape;
    const { format, exact, onDevice, onProgress, onTiling, workers, split = "time", onWorkers, ...rest } = options;
    const run = { ...rest, checkFinite: rest.checkFinite || (format === "sample" ? false : becomesPixels) };
    const deliver = async (bytes: ArrayBuffer | GPUBuffer, y: Pick<Tensor, "shape">): Promise<void> => {
      const what = part === "encode" ? "what the encoder makes of the frames" : "decoded frames";
      if (format === "sample") expectFinite(new Float32Array(bytes as ArrayBuffer), "vae", what, CHECK_FINITE);
      await collect(bytes, y);
    };
    if (workers !== undefined) {
      const { runClip } = await import("./split/clip.ts");
      const runner: ClipRunner = typeof workers === "function" ? workers : (...clip) => runClip(this, workers, ...clip);
      const how = { ...run, ...(onProgress ? { onProgress } : {}) };
      const reports = await runner({ axis: split, part, ...shape, format, dtype: this.dtype }, data, how, deliver);
      onWorkers?.(reports);
      return;
    }
    const batches = partBatches(part, frames);
    const channels = inputChannels(config, part);
    let one: (
      x: Float32Array,
      index: number,
      onProgress: { onProgress?: (share: number) => void },
    ) => Promise<{ bytes: ArrayBuffer | GPUBuffer; y: Tensor }>;
    let report = (): void => undefined;
    let end = (): void => undefined;
    if (exact === null) {
      let programs: readonly Program[] = [];
      const again = (): void => this.#forget(part);
      one = (x, index, progress) =>
        fitting(async () => {
          // All weights come in the first batch.
          if (index === 0) ({ programs } = await this.#session(part, shape, format, signalOf(options)));
          const program = programs[Math.min(index, 1)]!;
          const next = index + 1 < batches.length ? { next: programs[1]! } : {};
          await program.run({ ...run, inputs: { x }, ...progress, ...next });
          const y = program.plan.graph.outputs.get("y")!;
          return { bytes: onDevice ? program.buffer("y") : await this.gpu.read(program.buffer("y"), 0, y.bytes, run.signal), y };
        }, again);
    } else {
      const { ExactRun } = await import("./exact/run.ts"); // most pages never cut a picture
      const whole = { part, batch, frames, height, width, format, dtype: this.dtype };
      let graphs: readonly Graph[] = [];
      let tiles = new ExactRun(this.gpu, this.weights, exact);
      one = (x, index, progress) =>
        fitting(async () => {
          // All weights are loaded in the first batch.
          if (index === 0) {
            tiles[Symbol.dispose]();
            graphs = vaeGraphs(config, this.weights.provider, whole).graphs;
            tiles = new ExactRun(this.gpu, this.weights, exact);
          }
          const graph = graphs[Math.min(index, 1)]!;
          return { bytes: (await tiles.batch(graph, x, { ...run, ...progress })).buffer as ArrayBuffer, y: graph.outputs.get("y")! };
        });
      report = () => onTiling?.(tiles.report);
      end = () => tiles[Symbol.dispose]();
    }
    try {
      let done = 0;
      for (const [index, { start, frames: count }] of batches.entries()) {
        const x = takeFrames(data, { start, frames: count }, frames, height * width, batch * channels);
        const { bytes, y } = await one(x, index, onProgress ? { onProgress: (share) => onProgress((done + share * count) / frames) } : {});
        done += count;
        await deliver(bytes, y);
      }
      report();
    } finally {
      end();
    }
  }

  #forget(part: "encode" | "decode"): void {
    for (const one of this.#sessions.get(part)?.held ?? []) one[Symbol.dispose]();
    this.#sessions.delete(part);
  }

  [Symbol.dispose](): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#forget("encode");
    this.#forget("decode");
    this.weights[Symbol.dispose]();
  }
}

const signalOf = ({ signal }: { signal?: AbortSignal }): LoadOptions => (signal ? { signal } : {});
