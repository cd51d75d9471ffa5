/** The command line. Each command is a file beside this one; this file knows only their options. */
import { existsSync } from "node:fs";
import { inspect } from "node:util";
import { Command, CommanderError, InvalidArgumentError, Option } from "commander";
import { CogwheelError } from "../base/errors.ts";
import type { LoraInput } from "../pipelines/lora-file.ts";
import { shortenedLines } from "../base/visible.ts";
import { systemComplaint } from "../platform/system-error.ts";
import { EMBEDDED_MODEL, packageInfo } from "./package-root.ts";
import type { ValidateOptions } from "./validate.ts";
import { Interrupted } from "./terminal/interrupt.ts";
import { codeAfterOutput, complain, drained, guardOutput, leave } from "./terminal/output.ts";

guardOutput();
const { version, description } = packageInfo();

function number(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !Number.isFinite(value)) throw new InvalidArgumentError("It must be a number.");
  return value;
}
function size(text: string): { width: number; height: number } {
  const [, width, height] = /^(\d+)[x×](\d+)$/.exec(text) ?? [];
  if (!width || !height) throw new InvalidArgumentError("It must be WIDTHxHEIGHT, such as 720x480.");
  return { width: Number(width), height: Number(height) };
}

/** `file:scale`; a file of that whole name wins. */
function loraArgument(text: string): LoraInput {
  const [, file, scale] = /^(.+):([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)$/i.exec(text) ?? [];
  return file === undefined || existsSync(text) ? { adapter: text } : { adapter: file, scale: Number(scale) };
}

const adapter = () =>
  new Option("--adapter <name>", "gpu, lavapipe, swiftshader, or part of an adapter's name (default: the fastest there is)");
const dtype = (standard = "f16 on GPUs that have it") =>
  new Option("--dtype <type>", `storage type of weights and activations (default: ${standard})`).choices(["f32", "f16"]);
const tiling = () =>
  new Option("--tiling <mode>", "how the VAE goes about large pictures (default: none where the adapter can, else exact)").choices([
    "none",
    "exact",
    "reference",
  ]);
const fit = () =>
  new Option("--fit <how>", "how inputs of another shape are made to fit, by Lanczos (default: crop, both sides the same)").choices([
    "crop",
    "stretch",
    "pad",
  ]);
const sizes = (command: Command) =>
  command
    .option("--size <WxH>", "width and height in pixels (default: what the model was trained at)", size)
    .option("--frames <n>", "frames of the video; 1 makes a picture", number)
    .option("--fps <n>", "frames a second of the file", number)
    .option("--steps <n>", "denoising steps", number)
    .option("--guidance <scale>", "classifier-free guidance; 1 switches it off", number)
    .addOption(new Option("--scheduler <name>", "sampler").choices(["ddim", "dpm"]));

const program = new Command("cogwheel")
  .description(description)
  .version(version)
  .showHelpAfterError("(--help lists the options)")
  .enablePositionalOptions()
  .exitOverride()
  .configureOutput({ writeErr: (text) => void process.stderr.write(shortenedLines(text)) });

sizes(
  program
    .command("generate", { isDefault: true })
    .description("make a video (or a picture) of what a prompt says")
    .argument("[prompt...]", "what to show"),
)
  .option("--prompt-file <file>", "read the prompt from a file")
  .option("--negative <prompt>", "what not to show")
  .option("--seed <n>", "starting noise: the same seed gives the same noise on every device", number)
  .option("--dynamic-guidance", "guidance that follows the timestep, as advised for 5B models with dpm")
  .option("--image <file>", "the first frame, for image-to-video checkpoints: a picture, or the first frame of a video")
  .option("--video <file>", "a video to begin from: MP4, WebM, MOV, MKV, GIF, or a folder of PNG, JPEG or WebP; its first frames are taken")
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
  .option(
    "--model <folder>",
    "checkpoint in diffusers' layout: a folder, a URL, or org/name[@revision] on the hub, or its page (default: the embedded moving shapes)",
  )
  .option("--variant <name>", "file-name variant of the weights, such as fp16")
  .addOption(dtype())
  .addOption(adapter())
  .option("--out <path>", "file.mp4, .webm, .gif, .png (one frame), or a folder for PNG frames (default: outputs/…)")
  .option("--save-latents <file>", "also write the final latents, to decode or go on from")
  .option("--latents <file>", "start from, or go on with, saved latents")
  .option("--profile [file]", "print GPU time by kernel and write a Chrome trace")
  .option("--check-finite", "stop at the first node that makes a NaN or an infinity, and name it")
  .action(async (words: string[], options) => {
    const { generateCommand } = await import("./generate.ts");
    const { size: wanted, ...rest } = options;
    await generateCommand(words, { ...rest, ...wanted });
  });

const vae = program.command("vae").description("a checkpoint's VAE by itself: videos to latents and back");
const vaeCommand = (name: string, what: string) =>
  vae
    .command(name)
    .description(what)
    .option(
      "--model <folder>",
      "checkpoint in diffusers' layout: a folder, a URL, or org/name[@revision] on the hub, or its page (default: the embedded moving shapes)",
    )
    .option("--variant <name>", "file-name variant of the weights, such as fp16")
    .addOption(tiling())
    .option("--check-finite", "stop at the first node that makes a NaN or an infinity, and name it")
    .addOption(dtype())
    .addOption(adapter());
vaeCommand("encode", "encode a video into latents, times the VAE's scaling factor as transformers have them")
  .argument("<video>", "MP4, WebM, MOV, MKV, GIF, PNG, JPEG, WebP, or a folder of pictures")
  .requiredOption("--out <file>", "the latents, a .safetensors file")
  .option("--size <WxH>", "width and height to encode at (default: the video's own, rounded down to multiples of 8)", size)
  .option("--frames <n>", "how many of its frames, 8·k or 8·k + 1 (default: the most that there are)", number)
  .addOption(fit())
  .option("--seed <n>", "draw the latents from the posterior as torch does (default: its mean)", number)
  .action(async (file: string, options) => {
    const { vaeEncodeCommand } = await import("./vae.ts");
    const { size: wanted, ...rest } = options;
    await vaeEncodeCommand(file, { ...rest, ...wanted });
  });
vaeCommand("decode", "decode latents (of `vae encode`, or of generate's --save-latents) into a video")
  .argument("<latents>", "a .safetensors file")
  .requiredOption("--out <path>", "file.mp4, .webm, .gif, .png (one frame), or a folder for PNG frames")
  .option("--fps <n>", "frames a second of the file (default: those of the video that was encoded, else 8)", number)
  .action(async (file: string, options) => {
    const { vaeDecodeCommand } = await import("./vae.ts");
    await vaeDecodeCommand(file, options);
  });

program
  .command("validate")
  .description("run reference cases on the engine and compare with what they expect; exit code 1 when one fails or cannot be run")
  .argument("[paths...]", "case files, or folders of them")
  .option(
    "--sweep [filter]",
    "instead of cases: every kernel that the engine can choose on this adapter against float64, at tiny, odd and model sizes; with a part of a name, those only",
  )
  .option("--json", "print one JSON object")
  .addOption(dtype("f32"))
  .addOption(adapter())
  .option("--only <text>", "only cases whose module or name contains this")
  .addOption(
    new Option("--kernels <family>", "kernels for GPUs or for CPU adapters (default: what the engine chooses on this adapter)").choices([
      "gpu",
      "cpu",
    ]),
  )
  .option("--check-finite", "name the first node that makes a NaN or an infinity")
  .option("--trace", "compare every intermediate that the case records (of a pipeline, every step) and name the first that departs")
  .action(async (paths: string[], options) => {
    const { sweep, ...rest } = options as ValidateOptions & { sweep?: string | true };
    if (sweep !== undefined) {
      const other = [...paths, ...Object.keys(rest).filter((key) => key !== "json" && key !== "adapter")];
      if (other.length)
        throw new CogwheelError(
          "validate",
          `--sweep goes with --json and --adapter only, got ${other.join(", ")}; it makes its own cases, in both storage types, with every kernel`,
        );
      const { sweepCommand } = await import("./sweep.ts");
      process.exitCode = await sweepCommand({ ...rest, ...(sweep === true ? {} : { filter: sweep }) });
      return;
    }
    const { validateCommand } = await import("./validate.ts");
    process.exitCode = await validateCommand(paths, options);
  });

sizes(
  program
    .command("inspect")
    .description("what a checkpoint holds, its shapes, and what a generation with it will need")
    .argument("[model]", "checkpoint folder, URL, or org/name[@revision] on the hub (default: the embedded moving shapes)"),
)
  .option("--weights", "list every weight")
  .option("--kernels", "list the kernels that were chosen among several, and by what")
  .option("--variant <name>", "file-name variant of the weights")
  .option("--json", "print one JSON object")
  .addOption(dtype())
  .addOption(adapter())
  .action(async (model: string | undefined, options) => {
    const { inspectCommand } = await import("./inspect.ts");
    const { size: wanted, ...rest } = options;
    await inspectCommand(model ?? EMBEDDED_MODEL, { ...rest, ...wanted });
  });

sizes(
  program
    .command("tune")
    .description("measure a model's kernels on this adapter and keep the fastest for this user; needs no weights (docs/tuning.md)")
    .argument("[model]", "checkpoint folder, URL, or org/name[@revision] on the hub (default: the embedded moving shapes)"),
)
  .option("--quick", "fewer and shorter measurements")
  .option("--out <file>", "the report: adapter, versions and every time, in one JSON file (default: cogwheel-tuning-….json)")
  .option("--no-store", "write the report only")
  .addOption(dtype())
  .addOption(adapter())
  .action(async (model: string | undefined, options) => {
    const { tuneCommand } = await import("./tune.ts");
    const { size: wanted, ...rest } = options;
    await tuneCommand(model ?? EMBEDDED_MODEL, { ...rest, ...wanted });
  });

program
  .command("adapters")
  .description("list the adapters that --adapter can name here")
  .option("--json", "print JSON")
  .action(async (options) => {
    const { adaptersCommand } = await import("./adapters.ts");
    await adaptersCommand(options);
  });

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof Interrupted) process.exitCode = error.exitCode;
  else if (error instanceof CommanderError)
    process.exitCode = error.exitCode; // it has said what it had to
  else {
    for (const one of error instanceof AggregateError ? error.errors : [error])
      complain(one instanceof CogwheelError ? one.message : (systemComplaint(one) ?? shortenedLines(inspect(one))));
    process.exitCode = 1;
  }
}
await drained();
// What the other commands print is about a file, which is their result.
const printsResult = ["validate", "inspect", "adapters"].includes(program.args[0] ?? "");
// Dawn keeps the process alive, so it is ended here.
leave(codeAfterOutput(Number(process.exitCode ?? 0), printsResult));
