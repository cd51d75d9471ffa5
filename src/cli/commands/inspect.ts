/** `cogwheel inspect`: what a checkpoint holds, and what a generation with it will take. */
import { Option } from "commander";
import { SETTINGS } from "../../pipelines/options/table.ts";
import { defineCommand } from "../command.ts";
import { addFlags, byteCount, modelDeviceFlags, fileFlags, flagsOf, MODEL_ARGUMENT, readFlags } from "../flags.ts";
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
        .addOption(
          new Option(
            "--memory <sizes>",
            "how a generation keeps within so much of the adapter's memory, or within each of several: 4GB,6GB,8GB (docs/memory.md)",
          ).argParser((text) => text.split(",").map(byteCount)),
        )
        .option(
          "--report <file>",
          "also write a page: the memory of each stage along its time, with the line of --memory or of what is free",
        )
        .option("--json", "print one JSON object"),
      [...fileFlags(), ...modelDeviceFlags()],
    ),
  async run([model], parsed) {
    const { inspectModel } = await import("../inspect.ts");
    const { given, own } = readFlags<InspectOptions>(parsed, ["memory"]);
    await inspectModel(model ?? EMBEDDED_MODEL, given, own);
  },
});
