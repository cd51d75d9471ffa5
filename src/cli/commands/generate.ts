/** `cogwheel generate`, the default: from a prompt to a file. */
import { Option, type Command } from "commander";
import { REQUESTS, RUNNING, SETTINGS } from "../../pipelines/options/table.ts";
import { defineCommand } from "../command.ts";
import { addFlags, modelDeviceFlags, fileFlags, flagsOf, modelFlags, readFlags } from "../flags.ts";
import type { GenerateFlags } from "../generate/asked.ts";
import { PRESETS } from "../generate/preset.ts";

export const generate = defineCommand<[string[]]>({
  name: "generate",
  help: "make a video (or a picture) from a prompt",
  isDefault: true,
  declare: declareGenerate,
  async run([words], parsed) {
    const { withConfigs } = await import("../generate/config.ts");
    const flags = readFlags<GenerateFlags>(await withConfigs(parsed, declareGenerate));
    if (flags.own.batch === undefined) await (await import("../generate/run.ts")).generateToFile(words, flags);
    else await (await import("../generate/batch.ts")).generateBatch(words, flags, declareGenerate);
  },
});

/** Its arguments and options; of a batch's lines and of config files too. */
export function declareGenerate(command: Command): Command {
  return addFlags(
    addFlags(command.argument("[prompt...]", "what to show; - reads it from standard input, as does none where that is a pipe"), [
      ...flagsOf(SETTINGS),
      ...flagsOf(REQUESTS),
      ...modelFlags(),
      ...fileFlags(),
      ...modelDeviceFlags(),
    ])
      .option(
        "-o, --out <path>",
        "file.mp4, .webm, .gif, .png (one frame), a folder for PNG frames, or - for standard output (default: outputs/…)",
      )
      .option("--no-clobber", "refuse to take the place of a file that is there")
      .option("--again <file>", "with the prompt and settings that a video, a picture or saved latents say they were made with")
      .option("--no-metadata", "do not write into the file what it was made with: prompt, settings, model")
      .option(
        "--batch <file>",
        "make every line of a file of JSON lines: options by their names, and prompt; lines that are done are left out",
      )
      .addOption(new Option("--preset <name>", "two fifths of the model's own steps, for a look, or twice as many").choices(PRESETS))
      .option("--save-latents <file>", "also save the final latents, for --latents or vae decode")
      .option(
        "--report <file>",
        "also write a page of the run: clip, settings, steps, time, memory, kernels, versions (measures as --profile)",
      )
      .option("--enhance <url>", "rewrite the prompt first, by a model behind this OpenAI-compatible address (key: COGWHEEL_API_KEY)")
      .option("--enhance-model <name>", "the model there (default: the only one that it serves)")
      .option("--plan", "print what the generation will take, stage by stage, and stop")
      .option("--dry-run", "the same: check everything, print the plan, make nothing")
      .option("--json", "print one JSON object: what was planned and, without --plan, what was made and how long it took")
      .addOption(
        new Option(
          "--progress <how>",
          "on standard error: a bar (lines where no terminal is), an object a line, or nothing (default: bar)",
        ).choices(["bar", "json", "none"]),
      )
      .option("-q, --quiet", "say nothing but warnings and errors; the path of the result is printed all the same"),
    flagsOf(RUNNING),
  );
}
