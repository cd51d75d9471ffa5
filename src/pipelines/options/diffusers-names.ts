/** What diffusers' pipelines call the options of a generation: whoever writes one of these is told ours. */
import type { OptionName } from "./table.ts";

/** By diffusers' name, ours (docs/from-diffusers.md). */
export const DIFFUSERS_NAMES: Readonly<Record<string, OptionName>> = {
  negative_prompt: "negative",
  num_frames: "frames",
  num_inference_steps: "steps",
  guidance_scale: "guidance",
  use_dynamic_cfg: "dynamicGuidance",
  num_videos_per_prompt: "samples",
  generator: "seed",
  latents: "start",
  control_video: "control",
  mask_video: "mask",
  callback_on_step_end: "onStep",
};

const KEPT = "what the encoder made of a prompt is kept by itself";
const RETURNED = "video.frames are RGBA bytes, video.state the latents";

/** What has no option here, and why (docs/from-diffusers.md). */
export const DIFFUSERS_ONLY: Readonly<Record<string, string>> = {
  max_sequence_length: "it is 226, as the models were trained",
  eta: "it is 0",
  prompt_embeds: KEPT,
  negative_prompt_embeds: KEPT,
  output_type: RETURNED,
  return_dict: RETURNED,
};
