/** `cogwheel cache`: what text encoders made of prompts and is kept for this user. */
import { defineCommand, type CliCommand } from "../command.ts";

const list = defineCommand<[], { json?: boolean }>({
  name: "list",
  isDefault: true,
  help: "list the prompts whose encoded form is kept, what was used last first",
  printsResult: true,
  declare: (command) => command.option("--json", "print one JSON object"),
  async run(_, options) {
    const { listCache } = await import("../cache.ts");
    await listCache(options);
  },
});

const clear = defineCommand<[]>({
  name: "clear",
  help: "forget all of them",
  declare: (command) => command,
  async run() {
    const { clearCache } = await import("../cache.ts");
    await clearCache();
  },
});

export const cache: CliCommand = {
  name: "cache",
  help: "list or clear what is kept of prompts, so that a second generation with one loads no text encoder",
  commands: [list, clear],
};
