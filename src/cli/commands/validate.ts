/** `cogwheel validate`: reference cases, or with `--sweep` every kernel, on this adapter. */
import { Option } from "commander";
import { CogwheelError } from "../../base/errors.ts";
import { defineCommand } from "../command.ts";
import { addFlags, deviceFlags } from "../flags.ts";
import type { ValidateOptions } from "../validate.ts";

export const validate = defineCommand<[string[]], ValidateOptions & { sweep?: string | true }>({
  name: "validate",
  help: "run reference cases and compare results, gradients and training runs with theirs; exit code 1 if one fails or cannot be run",
  printsResult: true,
  declare: (command) =>
    addFlags(
      command
        .argument("[paths...]", "case files, or folders of them (default: the cases that come with the package)")
        .option(
          "--sweep [filter]",
          "instead of cases, compare every kernel that the engine can choose on this adapter with float64, at tiny, " +
            "odd and model sizes; with a part of a name, only the ops and kernels that have it",
        )
        .option("--json", "print one JSON object"),
      deviceFlags("f32"),
    )
      .option("--only <text>", "run only cases whose module or name contains this")
      .addOption(
        new Option(
          "--kernels <family>",
          "use the kernels for GPUs or for CPU adapters (default: the engine's choice for this adapter)",
        ).choices(["gpu", "cpu"]),
      )
      .option("--report <file>", "also write a page: all cases, and the worst output beside the reference's as pictures")
      .option("--check-finite", "name the first node that makes a NaN or an infinity")
      .option("--trace", "compare every intermediate in the case (for a pipeline, every step) and name the first that departs"),
  async run([paths], { sweep, ...options }) {
    if (sweep === undefined) {
      const { validateCases } = await import("../validate.ts");
      return await validateCases(paths, options);
    }
    const other = [...paths, ...Object.keys(options).filter((key) => key !== "json" && key !== "adapter")];
    if (other.length)
      throw new CogwheelError(
        "validate",
        `--sweep goes with --json and --adapter only, got ${other.join(", ")}; ` +
          "it makes its own cases, in both storage types, with every kernel",
      );
    const { sweepKernels } = await import("../sweep.ts");
    return await sweepKernels({ ...options, ...(sweep === true ? {} : { filter: sweep }) });
  },
});
