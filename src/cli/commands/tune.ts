/** `cogwheel tune`: measures a model's kernels on this adapter and keeps the fastest. */
import { SETTINGS } from "../../pipelines/options/table.ts";
import { defineCommand } from "../command.ts";
import { addFlags, deviceFlags, flagsOf, MODEL_ARGUMENT, readFlags } from "../flags.ts";
import { EMBEDDED_MODEL } from "../package-root.ts";
import type { TuneCommandOptions } from "../tune.ts";

export const tune = defineCommand<[string | undefined]>({
  name: "tune",
  help: "measure a model's kernels on this adapter and keep the fastest for this user; needs no weights (docs/tuning.md)",
  declare: (command) =>
    addFlags(
      addFlags(command.argument(...MODEL_ARGUMENT), flagsOf(SETTINGS))
        .option("--quick", "fewer and shorter measurements")
        .option("--out <file>", "the report: adapter, versions and every time, in one JSON file (default: cogwheel-tuning-….json)")
        .option("--no-store", "write the report only"),
      deviceFlags(),
    ),
  async run([model], parsed) {
    const { tuneModel } = await import("../tune.ts");
    const { given, own } = readFlags<TuneCommandOptions>(parsed);
    await tuneModel(model ?? EMBEDDED_MODEL, given, own);
  },
});
