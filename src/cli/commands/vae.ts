/** `cogwheel vae encode` and `vae decode`: a checkpoint's VAE by itself. */
import type { Command } from "commander";
import { defineCommand, type CliCommand } from "../command.ts";
import { adapter, checkFinite, dtype, fit, model, number, size, sized, tiling, variant, type Size } from "../flags.ts";
import type { VaeDecodeOptions, VaeEncodeOptions } from "../vae.ts";

/** What both directions take. */
const common = (command: Command): Command =>
  [model(), variant(), tiling(), checkFinite(), dtype(), adapter()].reduce((to, option) => to.addOption(option), command);

const encode = defineCommand<[string], VaeEncodeOptions & { size?: Size }>({
  name: "encode",
  help: "encode a video into latents, times the VAE's scaling factor as transformers have them",
  declare: (command) =>
    common(command)
      .argument("<video>", "MP4, WebM, MOV, MKV, GIF, PNG, JPEG, WebP, or a folder of pictures")
      .requiredOption("--out <file>", "the latents, a .safetensors file")
      .option("--size <WxH>", "width and height to encode at (default: the video's own, rounded down to multiples of 8)", size)
      .option("--frames <n>", "how many of its frames, 8·k or 8·k + 1 (default: the most that there are)", number)
      .addOption(fit())
      .option("--seed <n>", "draw the latents from the posterior as torch does (default: its mean)", number),
  async run([file], options) {
    const { encodeFile } = await import("../vae.ts");
    await encodeFile(file, sized(options));
  },
});

const decode = defineCommand<[string], VaeDecodeOptions>({
  name: "decode",
  help: "decode latents (of `vae encode`, or of generate's --save-latents) into a video",
  declare: (command) =>
    common(command)
      .argument("<latents>", "a .safetensors file")
      .requiredOption("--out <path>", "file.mp4, .webm, .gif, .png (one frame), or a folder for PNG frames")
      .option("--fps <n>", "frames a second of the file (default: those of the video that was encoded, else 8)", number),
  async run([file], options) {
    const { decodeFile } = await import("../vae.ts");
    await decodeFile(file, options);
  },
});

export const vae: CliCommand = {
  name: "vae",
  help: "a checkpoint's VAE by itself: videos to latents and back",
  commands: [encode, decode],
};
