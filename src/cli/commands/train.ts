/** `cogwheel train`: an adapter or the model itself learns from a folder of clips. */
import { type Command, Option } from "commander";
import { defineCommand } from "../command.ts";
import { addFlags, number } from "../flags.ts";
import { flagName, type KeyTable, TRAIN_TABLE, type TrainKey } from "../train/keys.ts";
import type { TrainFlags } from "../train/run.ts";
import { VAE_TABLE } from "../train/vae/keys.ts";

/** A key of the config as a flag. */
function optionOf(name: string, { kind, help, choices, otherwise }: TrainKey): Option {
  const value =
    { text: "text", path: "path", texts: "a,b…", paths: "a,b…", numbers: "a,b", flag: "", choice: "name" }[kind as string] ?? "n";
  const made = new Option(`${flagName(name)}${value && ` <${value}>`}`, `${help} (default: ${otherwise})`);
  if (choices) return made.choices([...choices]);
  if (kind === "texts" || kind === "paths") return made.argParser((text: string) => text.split(",").map((one) => one.trim()));
  if (kind === "numbers") return made.argParser((text: string) => text.split(",").map(number));
  return kind === "whole" || kind === "number" || kind === "share" ? made.argParser(number) : made;
}

const optionsOf = ({ keys }: KeyTable): Option[] =>
  Object.entries(keys)
    .filter(([, { kind }]) => kind !== "stages")
    .map(([name, key]) => optionOf(name, key));

/** Flags that are no keys of a config. */
const runFlags = (command: Command, planned: string): Command =>
  command
    .option("--resume", "go on with the run in --out; without it a run that is there is gone on with too")
    .option("--fresh", "begin anew: the run in --out is replaced")
    .option("--plan", `print ${planned} that a step will take, and stop`)
    .option("--json", "print one JSON object: what was planned or, without --plan, what was made");

const vae = defineCommand<[string | undefined], TrainFlags>({
  name: "vae",
  help: "teach a VAE, or its decoder or encoder alone, from a folder of clips (docs/training-vae.md)",
  declare: (command) =>
    runFlags(
      addFlags(
        command.argument("[config]", "CONFIG.json with any of the options below, under their names in camelCase; flags win"),
        optionsOf(VAE_TABLE),
      ),
      "the memory",
    ),
  async run([config], flags) {
    const { trainVaeFromFolder } = await import("../train/vae/run.ts");
    await trainVaeFromFolder(config, flags);
  },
});

export const train = defineCommand<[string | undefined], TrainFlags>({
  name: "train",
  help: "teach a model from a folder of clips: an adapter, or its own weights (docs/training.md)",
  commands: [vae],
  declare: (command) =>
    runFlags(
      addFlags(
        // What stands behind `train vae` is for that command, though both have options of one name.
        command
          .enablePositionalOptions()
          .argument("[config]", "CONFIG.json with any of the options below, under their names in camelCase; flags win"),
        optionsOf(TRAIN_TABLE),
      ),
      "the memory and the seconds",
    ).option(
      "--queue <address>",
      "leave micro-steps, or with --diloco replicas, to the workers of a queue (a folder or a NATS server), which encode clips too " +
        "(docs/scale-out.md)",
    ),
  async run([config], flags) {
    const { trainFromFolder } = await import("../train/run.ts");
    await trainFromFolder(config, flags);
  },
});
