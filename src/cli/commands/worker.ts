/** `cogwheel worker`: works on the jobs of a queue until it is stopped. */
import { InvalidArgumentError, Option } from "commander";
import { bytesOfText } from "../../base/units.ts";
import { defineCommand } from "../command.ts";
import { addFlags, modelDeviceFlags, number } from "../flags.ts";
import { queueFlag } from "./queue.ts";
import type { WorkerFlags } from "../worker.ts";

const NAMES = ["text", "denoise", "decode"] as const;

function stages(text: string): readonly (typeof NAMES)[number][] {
  const given = text.split(",").map((word) => word.trim());
  if (given.every((word) => (NAMES as readonly string[]).includes(word))) return NAMES.filter((name) => given.includes(name));
  throw new InvalidArgumentError(`It must be some of ${NAMES.join(", ")}, with commas between them.`);
}

const size = (text: string): number => {
  const bytes = bytesOfText(text);
  if (bytes === undefined) throw new InvalidArgumentError("It must be a size, such as 8GB.");
  return bytes;
};

export const worker = defineCommand<[], WorkerFlags>({
  name: "worker",
  help: "make the videos that others ask for: work on the jobs of a queue (docs/scale-out.md)",
  declare: (command) =>
    addFlags(command, [
      queueFlag(),
      new Option(
        "--model <folder>",
        "a checkpoint to serve, under the last part of its name; may be given several times (default: the embedded moving-shapes model)",
      ).argParser((one: string, all: readonly string[] = []) => [...all, one]),
      new Option("--variant <name>", "file-name variant of the weights, such as fp16"),
      ...modelDeviceFlags(),
      new Option("--memory <size>", "of the adapter, such as 8GB: weights come and go where all of them are too much").argParser(size),
      new Option("--no-keep", "load a model's parts anew for every job, which takes less memory of the adapter"),
      new Option(
        "--stages <list>",
        "what to do of a job: text (encode the prompt), denoise, decode; the model's other weights need not be there (default: all)",
      ).argParser(stages),
      new Option(
        "--caption-url <address>",
        "OpenAI-compatible address of a model that captions clips for `cogwheel data caption --queue` (key: COGWHEEL_API_KEY); " +
          "alone it needs no adapter, with --model the worker makes videos too",
      ),
      new Option("--caption-model <name>", "the only model that is asked for there (default: all that it serves)"),
      new Option("--caption-concurrency <n>", "requests there at a time (default: 4)").argParser(number),
      new Option("--until-input-ends", "stop when the standard input ends, as it does when whoever started it is gone"),
      new Option("--lease <seconds>", "others take a job over when its worker was not heard of for so long (default: 30)").argParser(
        number,
      ),
    ]),
  async run(_, flags) {
    const { runWorker } = await import("../worker.ts");
    return await runWorker(flags);
  },
});
