/** `cogwheel tune`: measures a model's kernels on this adapter and keeps the fastest. */
import { defineCommand } from "../command.ts";
import { adapter, dtype, settings, sized, type SettingFlags } from "../flags.ts";
import { EMBEDDED_MODEL } from "../package-root.ts";
import type { TuneCommandOptions } from "../tune.ts";

export const tune = defineCommand<[string | undefined], TuneCommandOptions & SettingFlags>({
  name: "tune",
  help: "measure a model's kernels on this adapter and keep the fastest for this user; needs no weights (docs/tuning.md)",
  declare: (command) =>
    settings(command.argument("[model]", "checkpoint folder, URL, or org/name[@revision] on the hub (default: the embedded moving shapes)"))
      .option("--quick", "fewer and shorter measurements")
      .option("--out <file>", "the report: adapter, versions and every time, in one JSON file (default: cogwheel-tuning-….json)")
      .option("--no-store", "write the report only")
      .addOption(dtype())
      .addOption(adapter()),
  async run([model], options) {
    const { tuneModel } = await import("../tune.ts");
    await tuneModel(model ?? EMBEDDED_MODEL, sized(options));
  },
});
