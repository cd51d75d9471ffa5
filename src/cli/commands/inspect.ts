/** `cogwheel inspect`: what a checkpoint holds, and what a generation with it will take. */
import { SETTINGS } from "../../pipelines/options/table.ts";
import { defineCommand } from "../command.ts";
import { addFlags, deviceFlags, fileFlags, flagsOf, MODEL_ARGUMENT, readFlags } from "../flags.ts";
import type { InspectOptions } from "../inspect.ts";
import { EMBEDDED_MODEL } from "../package-root.ts";

export const inspect = defineCommand<[string | undefined]>({
  name: "inspect",
  help: "show what a checkpoint contains, its shapes, and the memory that a generation needs",
  printsResult: true,
  declare: (command) =>
    addFlags(
      addFlags(command.argument(...MODEL_ARGUMENT), flagsOf(SETTINGS))
        .option("--weights", "list every weight")
        .option("--kernels", "list the kernels chosen from several, and whether a measurement chose them")
        .option("--variant <name>", "file-name variant of the weights")
        .option("--json", "print one JSON object"),
      [...fileFlags(), ...deviceFlags()],
    ),
  async run([model], parsed) {
    const { inspectModel } = await import("../inspect.ts");
    const { given, own } = readFlags<InspectOptions>(parsed);
    await inspectModel(model ?? EMBEDDED_MODEL, given, own);
  },
});
