/** `cogwheel tune`: measures a model's kernels on this adapter and keeps the fastest. */
import { SETTINGS } from "../../pipelines/options/table.ts";
import { defineCommand } from "../command.ts";
import { addFlags, modelDeviceFlags, flagsOf, MODEL_ARGUMENT, readFlags } from "../flags.ts";
import { EMBEDDED_MODEL } from "../package-root.ts";
import type { TuneCommandOptions } from "../tune.ts";

export const tune = defineCommand<[string | undefined]>({
  name: "tune",
  help: "measure a model's kernels on this adapter and use the fastest from now on; needs no weights (docs/tuning.md)",
  declare: (command) =>
    addFlags(
      addFlags(command.argument(...MODEL_ARGUMENT), flagsOf(SETTINGS))
        .option("--quick", "make fewer and shorter measurements")
        .option("--out <file>", "file for the report, JSON with adapter, versions and every time (default: cogwheel-tuning-….json)")
        .option("--no-store", "write only the report; later runs keep their kernels"),
      modelDeviceFlags(),
    ),
  async run([model], parsed) {
    const { tuneModel } = await import("../tune.ts");
    const { given, own } = readFlags<TuneCommandOptions>(parsed);
    await tuneModel(model ?? EMBEDDED_MODEL, given, own);
  },
});
