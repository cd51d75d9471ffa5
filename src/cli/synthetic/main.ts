/**
 * `npm run synthetic -- MODEL OUT`: a checkpoint folder of a published model's true shapes with random weights, for tests, benches, and
 * whoever wants to know what a machine can do before 20 GB are downloaded.
 */
import { Argument, Command, InvalidArgumentError, Option } from "commander";
import { CogwheelError } from "../../base/errors.ts";
import { bytesText } from "../../base/units.ts";
import type { Part } from "../../pipelines/cogvideox/components.ts";
import { publishedModels, type PublishedName } from "../../pipelines/cogvideox/published-models.ts";
import { systemComplaint } from "../../platform/system-error.ts";
import { Interrupted, interruptible } from "../terminal/interrupt.ts";
import { codeAfterOutput, complain, drained, guardOutput, leave, print } from "../terminal/output.ts";
import { Progress } from "../terminal/progress.ts";
import { SYNTHETIC_PARTS } from "./shards.ts";
import { writeSynthetic } from "./write.ts";

interface Flags {
  dtype?: "f16" | "bf16";
  only?: Part[];
  layers?: number;
  seed?: number;
}

const count =
  (least: number, most: number) =>
  (text: string): number => {
    const value = Number(text);
    if (!/^\d+$/.test(text) || value < least || value > most)
      throw new InvalidArgumentError(`it must be a whole number from ${least} to ${most}`);
    return value;
  };
function parts(text: string): Part[] {
  const names = [...new Set(text.split(","))] as Part[];
  for (const name of names)
    if (!SYNTHETIC_PARTS.includes(name)) throw new InvalidArgumentError(`components are ${SYNTHETIC_PARTS.join(", ")}`);
  return names;
}

guardOutput();
const program = new Command("synthetic")
  .description("write a checkpoint of a published model's true shapes, with random weights that keep activations sane")
  .addArgument(new Argument("<model>", "whose shapes").choices(Object.keys(publishedModels)))
  .argument("<folder>", "where to; made if it is not there, and nothing in it is replaced")
  .addOption(new Option("--dtype <type>", "how weights are stored (default: as published)").choices(["f16", "bf16"]))
  .option("--only <components>", `weights of these alone, of ${SYNTHETIC_PARTS.join(",")}`, parts)
  .option("--layers <n>", "at most so many layers of the transformer and of the text encoder", count(1, 1024))
  .option("--seed <n>", "seed of the weights", count(0, Number.MAX_SAFE_INTEGER), 0)
  .parse();
const [name, folder] = program.args as [PublishedName, string];
const { dtype, ...flags } = program.opts<Flags>();

async function run(): Promise<number> {
  using interruption = interruptible();
  using progress = new Progress();
  const begun = performance.now();
  try {
    const { bytes, files } = await writeSynthetic(publishedModels[name], folder, {
      ...flags,
      ...(dtype ? { dtype: dtype === "f16" ? "F16" : "BF16" } : {}),
      signal: interruption.signal,
      onProgress: (done, total, file) => progress.report("weights", done / total, `${bytesText(done)} of ${bytesText(total)}  ${file}`),
    });
    const seconds = (performance.now() - begun) / 1000;
    print(`${folder}: ${bytesText(bytes)} in ${files} ${files === 1 ? "file" : "files"} of weights, ${seconds.toFixed(1)} s`);
    return 0;
  } catch (error) {
    if (error instanceof Interrupted) return error.exitCode;
    complain(error instanceof CogwheelError ? error.message : (systemComplaint(error) ?? String(error)));
    return 1;
  }
}
const code = await run();
await drained();
leave(codeAfterOutput(code, true));
