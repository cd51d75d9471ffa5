/** What a generation gives: frames, and all that is needed to make them again or go on from them. */
import { encodeVideo } from "../video/encode.ts";
import type { DenoiseState } from "./denoiser.ts";
import type { Settings } from "./settings.ts";

/** 8-bit RGBA, row by row from the top. */
export interface RgbaFrame {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array;
}

export class Video {
  constructor(
    readonly frames: readonly RgbaFrame[],
    readonly settings: Settings & { seed: number; prompt: string },
    /** The latents that were decoded. */
    readonly state: DenoiseState,
    /** Wall-clock seconds a stage. */
    readonly seconds: Readonly<Partial<Record<string, number>>>,
  ) {}

  /** Encodes to a file (Node): .mp4, .webm, .gif, .png (one frame) or a folder of PNG. Loads a codec library when called. */
  async save(path: string, options: { fps?: number; signal?: AbortSignal } = {}): Promise<void> {
    await encodeVideo(this.frames, { fps: this.settings.fps, ...options, path });
  }
}
