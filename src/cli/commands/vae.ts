/** `cogwheel vae encode` and `vae decode`: a checkpoint's VAE by itself. */
import { InvalidArgumentError, Option, type Command } from "commander";
import { defineCommand, type CliCommand } from "../command.ts";
import { addFlags, deviceFlags, fileFlags, flagOf, modelFlags, readFlags } from "../flags.ts";
import type { VaeFlags } from "../vae.ts";

/** A number, or adapters with commas between them; words that are none are told where adapters are known. */
const workers = (text: string): number | { adapter: string }[] => {
  if (!/[a-z]/i.test(text)) {
    if (/^\s*[1-9]\d*\s*$/.test(text)) return Number(text);
    throw new InvalidArgumentError("It must be a whole number from 1, or adapters with commas between them.");
  }
  return text.split(",").map((adapter) => ({ adapter: adapter.trim() }));
};

/** What both directions take. */
const common = (command: Command): Command =>
  addFlags(command, [
    ...modelFlags(),
    ...fileFlags(["vae"]),
    flagOf("tiling"),
    new Option(
      "--workers <n>",
      "split the clip over so many processes, or over one on each of these adapters (gpu,lavapipe); see docs/vae.md",
    ).argParser(workers),
    new Option("--split <axis>", "what workers hold: frames of the clip, or rows (default: time)").choices(["time", "space"]),
    flagOf("checkFinite"),
    ...deviceFlags(),
  ]);

const encode = defineCommand<[string]>({
  name: "encode",
  help: "encode a video into latents, multiplied by the VAE's scaling factor as transformers expect",
  declare: (command) =>
    addFlags(
      common(command)
        .argument("<video>", "MP4, WebM, MOV, MKV, GIF, PNG, JPEG, WebP, or a folder of pictures")
        .requiredOption("--out <file>", "file for the latents (.safetensors)"),
      [
        flagOf("width", "width and height to encode at (default: the video's own, rounded down to multiples of 8)"),
        flagOf("frames", "how many of its frames to encode, 8·k or 8·k + 1 (default: as many as possible)"),
        flagOf("fit"),
        flagOf("seed", "draw the latents from the posterior as torch does (default: its mean)"),
      ],
    ),
  async run([file], parsed) {
    const { encodeFile } = await import("../vae.ts");
    const { given, own } = readFlags<VaeFlags>(parsed);
    await encodeFile(file, given, own);
  },
});

const decode = defineCommand<[string]>({
  name: "decode",
  help: "decode latents from `vae encode` or from generate's --save-latents into a video",
  declare: (command) =>
    common(command)
      .argument("<latents>", "a .safetensors file")
      .requiredOption("--out <path>", "file.mp4, .webm, .gif, .png (one frame), or a folder for PNG frames")
      .addOption(flagOf("fps", "frames a second of the file (default: as in the encoded video, else 8)")),
  async run([file], parsed) {
    const { decodeFile } = await import("../vae.ts");
    const { given, own } = readFlags<VaeFlags>(parsed);
    await decodeFile(file, given, own);
  },
});

export const vae: CliCommand = {
  name: "vae",
  help: "use a checkpoint's VAE by itself: videos to latents and back",
  commands: [encode, decode],
};
