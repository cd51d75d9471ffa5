/** `cogwheel models`: the published models, and those of the hub that are on this machine. */
import { defineCommand, type CliCommand } from "../command.ts";
import type { ListModelsOptions, PullOptions } from "../models.ts";

const NAME = ["<model>", "a short name such as 2b, or org/name[@revision] on the hub"] as const;
const variant = ["--variant <name>", "file-name variant of the weights, such as fp16"] as const;

const list = defineCommand<[], ListModelsOptions>({
  name: "list",
  isDefault: true,
  help: "list the published models by their short names: size, licence, and whether they are on this machine; and others that are",
  printsResult: true,
  declare: (command) =>
    command
      .option("--fit", "plan each on the adapter, in about a minute of processor time, and say whether it fits here")
      .option("--adapter <name>", "gpu, lavapipe, swiftshader, or part of an adapter's name (default: the fastest here)")
      .option("--json", "print one JSON object"),
  async run(_, options) {
    const { listModels } = await import("../models.ts");
    await listModels(options);
  },
});

const pull = defineCommand<[string], PullOptions>({
  name: "pull",
  help: "download a model, or what is missing of it, and print its folder",
  declare: (command) => command.argument(...NAME).option(...variant),
  async run([name], options) {
    const { pullModel } = await import("../models.ts");
    await pullModel(name, options);
  },
});

const path = defineCommand<[string], PullOptions>({
  name: "path",
  help: "print the folder of a model that is on this machine",
  printsResult: true,
  declare: (command) => command.argument(...NAME).option(...variant),
  async run([name], options) {
    const { printModelPath } = await import("../models.ts");
    await printModelPath(name, options);
  },
});

const rm = defineCommand<[string]>({
  name: "rm",
  help: "remove a model, all its revisions, from the cache of the hub's clients",
  declare: (command) => command.argument(...NAME),
  async run([name]) {
    const { removeModel } = await import("../models.ts");
    await removeModel(name);
  },
});

export const models: CliCommand = {
  name: "models",
  help: "list the published models, download one, say where it is, remove it",
  commands: [list, pull, path, rm],
};
