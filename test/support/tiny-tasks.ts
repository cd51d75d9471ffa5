/** Tiny checkpoints for every task, and the pictures that go in: what test/pipelines/fixtures/seeds.py runs through diffusers. */
import type { Frame } from "../../src/video/frame.ts";
import { tinyCheckpoint, type TinyOptions } from "./tiny-checkpoint.ts";

const rotary15 = { patch_size_t: 2, sample_width: 300, sample_height: 300, patch_bias: false };
const advice = { height: 16, width: 32, num_frames: 9, fps: 8, num_inference_steps: 4, guidance_scale: 3 };

/** What a checkpoint of a kind differs in from the tiny text-to-video one. */
export const TINY_TASKS: Readonly<Record<string, TinyOptions>> = {
  text: {},
  "text 1.5": { configs: { transformer: rotary15 }, advice },
  image: {
    pipeline: "CogVideoXImageToVideoPipeline",
    configs: { transformer: { in_channels: 8, use_learned_positional_embeddings: true } },
  },
  "image 1.5": {
    pipeline: "CogVideoXImageToVideoPipeline",
    configs: { transformer: { ...rotary15, in_channels: 8, ofs_embed_dim: 16 }, vae: { invert_scale_latents: true } },
    advice,
  },
  control: { pipeline: "CogVideoXFunControlPipeline", configs: { transformer: { in_channels: 8 } } },
  inpaint: { pipeline: "CogVideoXFunInpaintPipeline", configs: { transformer: { in_channels: 9 } } },
};

export const tinyTask = (task: keyof typeof TINY_TASKS): Promise<string> => tinyCheckpoint({ shaped: true, ...TINY_TASKS[task] });

/** A frame that differs everywhere; `t` is its number. */
export function tinyFrame(t: number, width = 32, height = 16): Frame {
  const data = new Uint8Array(width * height * 3);
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) data.set([(8 * x + 20 * t) % 256, (16 * y + 3 * x) % 256, (x * y + 31 * t) % 256], 3 * (y * width + x));
  return { width, height, data };
}
export const tinyFrames = (count: number): Frame[] => Array.from({ length: count }, (_, t) => tinyFrame(t));
