/** `cogwheel quantize`: a checkpoint's transformer or text encoder in 8 or 4 bits, as one file. */
import { Option } from "commander";
import { defineCommand } from "../command.ts";
import { addFlags, MODEL_ARGUMENT } from "../flags.ts";
import { EMBEDDED_MODEL } from "../package-root.ts";
import type { QuantizeFlags } from "../quantize.ts";

export const quantize = defineCommand<[string | undefined], QuantizeFlags>({
  name: "quantize",
  help: "write a checkpoint's weights in 8, 5 or 4 bits as one GGUF file, and show what that loses, layer by layer",
  declare: (command) =>
    addFlags(command.argument(...MODEL_ARGUMENT), [
      new Option("--type <type>", "how weights are stored: 8, 5 or 4 bits, and a scale for each 32")
        .choices(["q8_0", "q5_0", "q4_0"])
        .makeOptionMandatory(),
      new Option("--out <file>", "file.gguf, for --transformer or --text-encoder").makeOptionMandatory(),
      new Option("--component <name>", "which part of the checkpoint").choices(["transformer", "text_encoder"]).default("transformer"),
      new Option(
        "--keep <names>",
        "weights that stay as they are: parts of their names, with commas between, or none " +
          "(default: what is outside of attention and feed-forward layers)",
      ),
      new Option("--variant <name>", "file-name variant of the weights"),
      new Option("--json", "print one JSON object, with every weight"),
      new Option("--adapter <name>", "adapter that layers are compared on (default: the fastest here)"),
    ]),
  async run([model], flags) {
    const { quantizeToFile } = await import("../quantize.ts");
    await quantizeToFile(model ?? EMBEDDED_MODEL, flags);
  },
});
