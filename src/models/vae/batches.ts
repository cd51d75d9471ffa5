/** The causal VAE as graphs: a video is cut into batches of frames, each one replay of a graph, joined by their caches. */
import { CogwheelError } from "../../base/errors.ts";
import type { Capabilities } from "../../gpu/capabilities.ts";
import { compile, type Plan } from "../../plan/compile.ts";
import type { DType } from "../../graph/dtype.ts";
import { Graph } from "../../graph/graph.ts";
import type { Tensor } from "../../graph/tensor.ts";
import { weightsOf } from "../../graph/weights-of.ts";
import type { WeightProvider } from "../../run/weight-provider.ts";
import { channelsFirst, channelsLast } from "../../ops/channels.ts";
import { pixels } from "../../ops/pixels.ts";
import { recordDecoder, recordEncoder, type CausalCaches, type VaeRecorder } from "./forward.ts";
import { spatialRatio, temporalLevels, type VaeConfig } from "./config.ts";

/** A video or its latents: sizes of the tensor [batch, channels, frames, height, width]. */
export interface VideoShape {
  readonly batch: number;
  readonly frames: number;
  readonly height: number;
  readonly width: number;
}

/**
 * What a decoder gives: `sample` [B, 3, T, H, W] in about −1…1 as the reference does, `frames` [B, T, H, W, 3] in 0…1,
 * `rgba` [B, T, H, W] with red in the lowest byte.
 */
export type DecodedFormat = "sample" | "frames" | "rgba";

export interface FrameBatch {
  readonly start: number;
  readonly frames: number;
}

/** Frames in a batch, as the reference has them: they are part of the result, for norms are taken over a batch. */
export const SAMPLE_BATCH = 8;
export const LATENT_BATCH = 2;

/** Batches of `size` frames; what is left over joins the first. */
export function frameBatches(frames: number, size: number): FrameBatch[] {
  const rest = frames < size ? 0 : frames % size;
  const count = Math.max(1, Math.floor(frames / size));
  return Array.from({ length: count }, (_, i) => {
    const start = i === 0 ? 0 : i * size + rest;
    return { start, frames: Math.min(frames, (i + 1) * size + rest) - start };
  });
}

/** Batches of what goes into a part: frames of a clip, or latent frames. */
export const partBatches = (part: "encode" | "decode", frames: number): FrameBatch[] =>
  frameBatches(frames, part === "encode" ? SAMPLE_BATCH : LATENT_BATCH);

/** Channels of what goes into a part, and of the values that it gives: moments or pixels. */
export const inputChannels = (config: VaeConfig, part: "encode" | "decode"): number =>
  part === "encode" ? config.in_channels : config.latent_channels;
export const outputChannels = (config: VaeConfig, part: "encode" | "decode"): number =>
  part === "encode" ? 2 * config.latent_channels : config.out_channels;

/** Frames of a batch out of [rows, frames, plane]. */
export function takeFrames(data: Float32Array, part: FrameBatch, frames: number, plane: number, rows: number): Float32Array {
  if (part.frames === frames) return data;
  const out = new Float32Array(rows * part.frames * plane);
  for (let row = 0; row < rows; row++)
    out.set(
      data.subarray((row * frames + part.start) * plane, (row * frames + part.start + part.frames) * plane),
      row * part.frames * plane,
    );
  return out;
}

/** Puts [rows, frames, plane] where it belongs in [rows, total, plane]. */
export function placeFrames(data: Float32Array, frames: number, into: Float32Array, start: number, total: number, plane: number): void {
  for (let row = 0; row < data.length / (frames * plane); row++)
    into.set(data.subarray(row * frames * plane, (row + 1) * frames * plane), (row * total + start) * plane);
}

/** Frames that come back from a batch of `latents`; in the first and in later ones alike, an odd number keeps its first frame single. */
export function decodedFrames(config: VaeConfig, latents: number): number {
  let frames = latents;
  for (let level = 0; level < temporalLevels(config); level++) if (frames > 1) frames = frames % 2 ? 2 * frames - 1 : 2 * frames;
  return frames;
}

/** Frames that so many latent frames decode to. */
export function framesOf(latents: number, config: VaeConfig): number {
  return frameBatches(latents, LATENT_BATCH).reduce((n, batch) => n + decodedFrames(config, batch.frames), 0);
}

/** Latents of a batch of `frames`. */
export function encodedFrames(config: VaeConfig, frames: number): number {
  let latents = frames;
  for (let level = 0; level < temporalLevels(config); level++) latents = Math.ceil(latents / 2);
  return latents;
}

export interface VaeGraphOptions extends VideoShape {
  readonly part: "encode" | "decode";
  /** Of the part's output; `encode` gives moments [B, 2Z, T, H, W]. */
  readonly format: DecodedFormat;
  /** Storage type of activations that f16 can hold. */
  readonly dtype: "f32" | "f16";
  /** Is there a batch of frames before, is there one after? */
  readonly continues: boolean;
  readonly continued: boolean;
}

/** The state that holds the frames which a convolution keeps for the next batch. */
export const cacheState = (prefix: string): string => `conv_cache.${prefix}`;

/** Convolutions' weights may be f16; biases and norms never are. */
export function weightTypes(provider: Pick<WeightProvider, "type">) {
  return (name: string): DType => (/\.bias$|\.norm\w*\.weight$/.test(name) ? "f32" : provider.type(name));
}

/**
 * One batch of frames: input `x` [B, C, T, H, W] → output `y`. What a convolution keeps of its last frames for the next batch
 * is a state, `conv_cache.…`, which the graphs of a video share.
 */
export function vaeGraph(config: VaeConfig, provider: Pick<WeightProvider, "type">, options: VaeGraphOptions): Graph {
  const { part, batch, frames, height, width, format, dtype, continues, continued } = options;
  const graph = new Graph(`vae.${part}`, weightTypes(provider));
  const caches: CausalCaches = {
    ...(continues ? { before: (prefix, shape, type) => graph.state(cacheState(prefix), shape, type) } : {}),
    ...(continued
      ? {
          keep: (prefix, kept) => graph.update(graph.state(cacheState(prefix), kept.shape, kept.dtype), kept),
        }
      : {}),
  };
  const x = channelsLast(graph.input("x", [batch, inputChannels(config, part), frames, height, width]));
  graph.output("y", recordPart({ graph, config, dtype, caches }, part, x, format));
  return graph;
}

/** x [B, T, H, W, C padded] → what a part makes of it: values [B, C', T', H', W'], or pixels. */
export function recordPart(recorder: VaeRecorder, part: "encode" | "decode", x: Tensor, format: DecodedFormat): Tensor {
  const made = part === "encode" ? recordEncoder(recorder, x) : recordDecoder(recorder, x);
  return part === "encode" || format === "sample" ? channelsFirst(made, outputChannels(recorder.config, part)) : pixels(made, { format });
}

/** The graphs of a whole video: the first batch of frames and, if there are more, the one that is replayed for the others. */
export function vaeGraphs(
  config: VaeConfig,
  provider: Pick<WeightProvider, "type">,
  options: Omit<VaeGraphOptions, "continues" | "continued">,
): { batches: FrameBatch[]; graphs: Graph[] } {
  const batches = partBatches(options.part, options.frames);
  const graphs = [vaeGraph(config, provider, { ...options, frames: batches[0]!.frames, continues: false, continued: batches.length > 1 })];
  if (batches.length > 1)
    graphs.push(vaeGraph(config, provider, { ...options, frames: batches[1]!.frames, continues: true, continued: batches.length > 2 }));
  return { batches, graphs };
}

/** Checks a video's or latents' size before anything is computed. */
export function checkVideoShape(config: VaeConfig, part: "encode" | "decode", { batch, frames, height, width }: VideoShape): void {
  const sizes = { batch, frames, height, width };
  for (const [name, size] of Object.entries(sizes)) {
    if (!Number.isInteger(size) || size < 1)
      throw new CogwheelError(
        "vae",
        `${name} must be a positive integer, got ${size}; give the size of the ${part === "encode" ? "video" : "latents"}`,
      );
  }
  const ratio = spatialRatio(config);
  if (part === "encode" && (height % ratio || width % ratio))
    throw new CogwheelError("vae", `height and width of a video must be multiples of ${ratio}, got ${height} × ${width}; crop or pad it`, {
      code: "invalid-request",
    });
}

/** The plans of an encoding or decoding, made without a GPU and before any weight is read: what memory and work it will take. */
export function planVae(
  config: VaeConfig,
  caps: Capabilities,
  options: VideoShape & { part: "encode" | "decode"; format?: DecodedFormat; dtype?: "f32" | "f16"; weightType?: DType },
): Plan[] {
  checkVideoShape(config, options.part, options);
  const { format = "sample", dtype = "f32", weightType = dtype } = options;
  return vaeGraphs(config, { type: () => weightType }, { ...options, format, dtype }).graphs.map((graph) => compile(graph, caps));
}

/** Every weight by its published name, with its shape. */
export function vaeWeights(
  config: VaeConfig,
  parts: readonly ("encode" | "decode")[] = ["encode", "decode"],
): Map<string, readonly number[]> {
  const weights = new Map<string, readonly number[]>();
  for (const part of parts) {
    const size = part === "encode" ? spatialRatio(config) : 1;
    const graph = vaeGraph(
      config,
      { type: () => "f32" },
      { part, batch: 1, frames: 1, height: size, width: size, format: "sample", dtype: "f32", continues: false, continued: false },
    );
    for (const [name, shape] of weightsOf(graph)) weights.set(name, shape);
  }
  return weights;
}
