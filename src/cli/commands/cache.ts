/** `cogwheel cache`: what encoders made of prompts and of clips to train on, and is kept for this user. */
import { defineCommand, type CliCommand } from "../command.ts";

const list = defineCommand<[], { json?: boolean }>({
  name: "list",
  isDefault: true,
  help: "list the prompts whose encoded form is kept, what was used last first, and how much is kept for training",
  printsResult: true,
  declare: (command) => command.option("--json", "print one JSON object"),
  async run(_, options) {
    const { listCache } = await import("../cache.ts");
    await listCache(options);
  },
});

const clear = defineCommand<[], { training?: boolean }>({
  name: "clear",
  help: "forget all prompts, or what is kept for training",
  declare: (command) => command.option("--training", "encoded clips and captions that runs of training left, in place of prompts"),
  async run(_, { training }) {
    const { clearCache, clearTraining } = await import("../cache.ts");
    await (training ? clearTraining() : clearCache());
  },
});

export const cache: CliCommand = {
  name: "cache",
  help: "list or clear what is kept of prompts and of clips to train on, so that no encoder is loaded for them again",
  commands: [list, clear],
};
