/** `cogwheel queue`: what jobs a queue has, and what becomes of them. */
import { InvalidArgumentError, Option } from "commander";
import { defineCommand, type CliCommand } from "../command.ts";
import { addFlags, flagOf, number } from "../flags.ts";
import type { AddFlags, ListFlags, QueueFlags } from "../queue.ts";

export const queueFlag = (): Option =>
  new Option(
    "--queue <address>",
    "where its jobs are: a folder of this machine, or a NATS server (nats://host:4222)",
  ).makeOptionMandatory();

const count = (text: string): number => {
  const value = number(text);
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError("It must be a whole number from 1.");
  return value;
};

const json = (): Option => new Option("--json", "print JSON");
const ID = ["<id>", "the job's id, or its first letters where these say which"] as const;

export const queue: CliCommand = {
  name: "queue",
  help: "add, list, show, watch and cancel the jobs of a queue (docs/scale-out.md)",
  commands: [
    defineCommand<[string[]], AddFlags>({
      name: "add",
      help: "add a job, and print its id; with --samples a job for each",
      declare: (command) =>
        addFlags(command.argument("<prompt...>", "what to show"), [
          queueFlag(),
          new Option(
            "--split <how>",
            "what two workers do together: the steps, each with one branch of guidance; the VAE's work, each with frames or rows",
          ).choices(["guidance", "vae-time", "vae-space"]),
          new Option("--plan", "add none: say what each split moves on this queue, and where it pays; --model is then a checkpoint"),
          json(),
          new Option(
            "--model <name>",
            "as workers call it, or its folder, by whose configs the job is checked (default: the embedded moving-shapes model)",
          ),
          ...(
            ["width", "frames", "fps", "steps", "guidance", "negative", "seed", "samples", "image", "video", "strength", "loras"] as const
          ).map((name) => flagOf(name)),
        ]),
      async run([words], flags) {
        const { addJob } = await import("../queue.ts");
        await addJob(words.join(" "), flags);
        return undefined;
      },
    }),
    defineCommand<[], ListFlags>({
      name: "list",
      help: "the newest jobs, and the workers that are there",
      printsResult: true,
      declare: (command) =>
        addFlags(command, [queueFlag(), new Option("--limit <n>", "jobs at most (default: 20)").argParser(count), json()]),
      async run(_, flags) {
        const { listJobs } = await import("../queue.ts");
        await listJobs(flags);
        return undefined;
      },
    }),
    defineCommand<[string], QueueFlags & { out?: string }>({
      name: "show",
      help: "all that is known of a job; with --out its video",
      printsResult: true,
      declare: (command) =>
        addFlags(command.argument(...ID), [queueFlag(), new Option("--out <file>", "write the video there (.mp4)"), json()]),
      async run([id], flags) {
        const { showJob } = await import("../queue.ts");
        await showJob(id, flags);
        return undefined;
      },
    }),
    defineCommand<[string], QueueFlags>({
      name: "cancel",
      help: "end a job; whoever works on it stops",
      declare: (command) => addFlags(command.argument(...ID), [queueFlag()]),
      async run([id], flags) {
        const { cancelJob } = await import("../queue.ts");
        await cancelJob(id, flags);
        return undefined;
      },
    }),
    defineCommand<[string | undefined], QueueFlags>({
      name: "watch",
      help: "a line for each change, of one job until it is over, or of all until Ctrl-C",
      printsResult: true,
      declare: (command) => addFlags(command.argument("[id]", ID[1]), [queueFlag(), json()]),
      async run([id], flags) {
        const { watchJobs } = await import("../queue.ts");
        return await watchJobs(id, flags);
      },
    }),
  ],
};
