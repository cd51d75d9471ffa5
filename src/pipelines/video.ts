/** What a generation gives: frames, and all that is needed to make them again or go on from them. */
import { CogwheelError } from "../base/errors.ts";
import { encodeVideo } from "../video/encode.ts";
import type { DenoiseState } from "../models/cogvideox/model.ts";
import type { VideoFormat } from "../video/formats.ts";
import type { RgbaFrame } from "../video/frame.ts";
import type { MadeWith } from "./made-with.ts";
import type { Settings } from "./settings.ts";

/** What a generation gave: frames, and all that is needed to make them again or go on from them. */
export class Video {
  constructor(
    /** Every video that was made, in the order of the latents; one unless more were asked for. */
    readonly samples: readonly (readonly RgbaFrame[])[],
    readonly settings: Settings & { seed: number; prompt: string },
    /** The latents that were decoded. */
    readonly state: DenoiseState,
    /** Wall-clock seconds a stage. */
    readonly seconds: Readonly<Partial<Record<string, number>>>,
    /** What it was made with: what the model and every option were, as files keep it. */
    readonly made: MadeWith,
    /**
     * With `textures`: every frame as an `rgba8unorm` texture on the model's device, in place of
     * its bytes; whoever asked for them destroys them.
     */
    readonly textures: readonly (readonly GPUTexture[])[] = [],
  ) {}

  /** Frames of the first video. */
  get frames(): readonly RgbaFrame[] {
    return this.#sample(0);
  }

  /** Frames as a browser's canvas takes them (`putImageData`). */
  imageData(sample = 0): ImageData[] {
    return this.#sample(sample).map(({ width, height, data }) => new ImageData(new Uint8ClampedArray(data), width, height));
  }

  /** Frames as a browser's pictures (`drawImage`, `transferFromImageBitmap`); close them when they are shown. */
  bitmaps(sample = 0): Promise<ImageBitmap[]> {
    return Promise.all(this.imageData(sample).map((data) => createImageBitmap(data)));
  }

  #sample(sample: number): readonly RgbaFrame[] {
    const frames = this.samples[sample];
    if (!frames)
      throw new CogwheelError(
        "generate",
        this.textures.length
          ? "the frames were left on the device as textures, got a call that needs their bytes; generate without `textures`"
          : `sample must be a number from 0 to ${this.samples.length - 1}, got ${sample}`,
      );
    return frames;
  }

  /**
   * Encodes to a `Blob` of its type, for `URL.createObjectURL`, a download or an upload: the first of several videos, unless `sample` says
   * another. Loads a codec library when called; metadata as `save`.
   */
  async blob(
    format: VideoFormat = "mp4",
    { sample = 0, metadata = true, ...options }: { sample?: number; fps?: number; metadata?: boolean; signal?: AbortSignal } = {},
  ): Promise<Blob> {
    const made = metadata ? { made: this.made } : {};
    const bytes = await encodeVideo(this.#sample(sample), { fps: this.settings.fps, ...made, ...options, format });
    return new Blob([bytes], { type: `${format === "mp4" || format === "webm" ? "video" : "image"}/${format}` });
  }

  /**
   * Encodes to a file (Node): .mp4, .webm, .gif, .png (one frame) or a folder of PNG; the first of several, unless `sample`
   * says another. Loads a codec library when called. MP4, WebM and PNG say in their comment what they were made with, the prompt too;
   * without `metadata` they do not.
   */
  async save(
    path: string,
    { sample = 0, metadata = true, ...options }: { sample?: number; fps?: number; metadata?: boolean; signal?: AbortSignal } = {},
  ): Promise<void> {
    await encodeVideo(this.#sample(sample), { fps: this.settings.fps, ...(metadata ? { made: this.made } : {}), ...options, path });
  }
}

/** [1, 3, T, H, W] in −1…1 → bytes, rounded as the `pixels` kernel does. */
export function rgbaFrames({ data, shape }: { data: Float32Array; shape: readonly number[] }): RgbaFrame[] {
  const [, , count, height, width] = shape as [number, number, number, number, number];
  const plane = height * width;
  return Array.from({ length: count }, (_, t) => {
    const rgba = new Uint8ClampedArray(4 * plane).fill(255);
    // The array clamps, and rounds halves to even.
    for (let c = 0; c < 3; c++)
      for (let i = 0, at = (c * count + t) * plane; i < plane; i++, at++) rgba[4 * i + c] = (data[at]! / 2 + 0.5) * 255;
    return { width, height, data: new Uint8Array(rgba.buffer) };
  });
}
