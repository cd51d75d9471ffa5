/** `cogwheel generate`, the default: from a prompt to a file. */
import { Option } from "commander";
import type { LoraInput } from "../../pipelines/lora-file.ts";
import { defineCommand } from "../command.ts";
import {
  adapter,
  checkFinite,
  dtype,
  fit,
  loraArgument,
  model,
  number,
  settings,
  sized,
  tiling,
  variant,
  type SettingFlags,
} from "../flags.ts";
import type { GenerateCommandOptions } from "../generate.ts";

export const generate = defineCommand<[string[]], GenerateCommandOptions & SettingFlags>({
  name: "generate",
  help: "make a video (or a picture) of what a prompt says",
  isDefault: true,
  declare: (command) =>
    settings(command.argument("[prompt...]", "what to show"))
      .option("--prompt-file <file>", "read the prompt from a file")
      .option("--negative <prompt>", "what not to show")
      .option("--seed <n>", "starting noise: the same seed gives the same noise on every device", number)
      .option("--dynamic-guidance", "guidance that follows the timestep, as advised for 5B models with dpm")
      .option("--image <file>", "the first frame, for image-to-video checkpoints: a picture, or the first frame of a video")
      .option(
        "--video <file>",
        "a video to begin from: MP4, WebM, MOV, MKV, GIF, or a folder of PNG, JPEG or WebP; its first frames are taken",
      )
      .option("--strength <share>", "how far from --video the result may go, above 0 up to 1 (default: 0.8)", number)
      .option("--control <file>", "a control video (edges, depth, poses …), for control checkpoints")
      .option("--mask <file>", "with --video and an inpainting checkpoint: white is made anew, black is kept")
      .addOption(fit())
      .option("--samples <n>", "videos of this prompt, made together; files get -1, -2, …", number)
      .addOption(
        new Option(
          "--lora <file[:scale]>",
          "an adapter on the transformer, with its strength (default 1); may be given several times",
        ).argParser((text: string, list: LoraInput[] = []) => [...list, loraArgument(text)]),
      )
      .addOption(
        new Option(
          "--reference-profile <name>",
          "whose behaviour to follow where published implementations disagree; see docs/profiles.md (default: diffusers)",
        ).choices(["diffusers", "sat", "corrected"]),
      )
      .addOption(tiling())
      .addOption(model())
      .addOption(variant())
      .addOption(dtype())
      .addOption(adapter())
      .option("--out <path>", "file.mp4, .webm, .gif, .png (one frame), or a folder for PNG frames (default: outputs/…)")
      .option("--save-latents <file>", "also write the final latents, to decode or go on from")
      .option("--latents <file>", "start from, or go on with, saved latents")
      .option("--profile [file]", "print GPU time by kernel and write a Chrome trace")
      .addOption(checkFinite()),
  async run([words], options) {
    const { generateCommand } = await import("../generate.ts");
    await generateCommand(words, sized(options));
  },
});
