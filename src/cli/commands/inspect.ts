/** `cogwheel inspect`: what a checkpoint holds, and what a generation with it will take. */
import { defineCommand } from "../command.ts";
import { adapter, dtype, settings, sized, type SettingFlags } from "../flags.ts";
import type { InspectOptions } from "../inspect.ts";
import { EMBEDDED_MODEL } from "../package-root.ts";

export const inspect = defineCommand<[string | undefined], InspectOptions & SettingFlags>({
  name: "inspect",
  help: "what a checkpoint holds, its shapes, and what a generation with it will need",
  printsResult: true,
  declare: (command) =>
    settings(command.argument("[model]", "checkpoint folder, URL, or org/name[@revision] on the hub (default: the embedded moving shapes)"))
      .option("--weights", "list every weight")
      .option("--kernels", "list the kernels that were chosen among several, and by what")
      .option("--variant <name>", "file-name variant of the weights")
      .option("--json", "print one JSON object")
      .addOption(dtype())
      .addOption(adapter()),
  async run([model], options) {
    const { inspectModel } = await import("../inspect.ts");
    await inspectModel(model ?? EMBEDDED_MODEL, sized(options));
  },
});
