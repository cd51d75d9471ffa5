/** `cogwheel serve`: videos over HTTP, by OpenAI's /v1/videos. */
import { Option, type Command } from "commander";
import { defineCommand, type CliCommand } from "../command.ts";
import { addFlags, byteCount, modelDeviceFlags, number } from "../flags.ts";
import type { KeyFlags, ServeFlags } from "../serve/run.ts";

const queueOption = (): Option =>
  new Option("--queue <address>", "where jobs are kept: a folder of this machine, which is made where there is none").default(
    "cogwheel-jobs",
  );
const queued = (command: Command): Command => command.addOption(queueOption());

const keys: CliCommand = {
  name: "keys",
  help: "the keys that clients show: add, list, remove",
  commands: [
    defineCommand<[string], KeyFlags>({
      name: "add",
      help: "make a key, and print it: it is kept nowhere",
      printsResult: true,
      declare: (command) =>
        queued(command.argument("<name>", "whose it is"))
          .addOption(new Option("--requests <n>", "requests that may be answered at a time (default: no limit)").argParser(number))
          .addOption(new Option("--jobs <n>", "jobs that may wait or be worked on (default: no limit)").argParser(number))
          .addOption(
            new Option("--pixels <n>", "pixels that all frames of these jobs may have together (default: no limit)").argParser(number),
          )
          .option("--key-file <file>", "take the key that stands there; a second time it does nothing")
          .option("--json", "print one JSON object"),
      async run([name], flags) {
        const { addKey } = await import("../serve/keys.ts");
        await addKey(name, flags);
        return undefined;
      },
    }),
    defineCommand<[], KeyFlags>({
      name: "list",
      help: "names and limits of all keys",
      printsResult: true,
      declare: (command) => queued(command).option("--json", "print one JSON object"),
      async run(_, flags) {
        const { listKeys } = await import("../serve/keys.ts");
        await listKeys(flags);
        return undefined;
      },
    }),
    defineCommand<[string], KeyFlags>({
      name: "remove",
      help: "take a key back; its jobs stay, and nobody can ask for them",
      declare: (command) => queued(command.argument("<name>", "whose it is")),
      async run([name], flags) {
        const { removeKey } = await import("../serve/keys.ts");
        await removeKey(name, flags);
        return undefined;
      },
    }),
  ],
};

export const serve = defineCommand<[], ServeFlags>({
  name: "serve",
  help: "make videos for clients over HTTP, by OpenAI's /v1/videos and Replicate's /v1/predictions (docs/scale-out.md)",
  commands: [keys],
  declare: (command) =>
    addFlags(queued(command), [
      new Option("--model <folder>", "the checkpoint, as generate takes it (default: the embedded moving-shapes model)"),
      new Option("--variant <name>", "file-name variant of the weights, such as fp16"),
      ...modelDeviceFlags(),
      new Option("--host <address>", "address to listen at; others than this machine's own need keys").default("127.0.0.1"),
      new Option("--port <n>", "port to listen at; 0 takes a free one").argParser(number).default(8000),
      new Option(
        "--lora <name=file>",
        "an adapter (.safetensors) that requests may ask for by this name; may be given several times",
      ).argParser((one: string, all: readonly string[] = []) => [...all, one]),
      new Option("--lora-scale <n>", "the largest scale that may be asked for").argParser(number).default(2),
      new Option("--max-upload <size>", "bytes that a request may have (default: 100MB)").argParser(byteCount),
      new Option("--max-jobs <n>", "jobs that may wait or be worked on (default: 1000)").argParser(number),
      new Option("--private-webhooks", "let webhooks go to addresses of this machine and its networks too"),
      new Option("--lease <seconds>", "the worker's job is taken over when it was not heard of for so long (default: 30)").argParser(
        number,
      ),
      new Option("--tabs <address>", "the playground's join.html, where a browser's tab becomes a worker: the page for people links there"),
      new Option("--no-worker", "only take requests: workers elsewhere do the work (`cogwheel worker`)"),
    ]),
  async run(_, flags) {
    const { runServer } = await import("../serve/run.ts");
    return await runServer(flags);
  },
});
