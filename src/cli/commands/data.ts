/** `cogwheel data`: from a folder of raw videos to a data set that models learn from. */
import type { Command } from "commander";
import { type CliCommand, defineCommand } from "../command.ts";
import type { DataFlags } from "../data/config.ts";
import type { DataStage } from "../data/run.ts";
import { number } from "../flags.ts";

const FROM = ["<from>", "a folder of videos, or CONFIG.json (docs/data.md)"] as const;

/** Flags that every stage has. */
export const dataFlags = (command: Command): Command =>
  command
    .argument(...FROM)
    .option("--out <folder>", "folder of the data set")
    .option("--jobs <n>", "films that are worked on at a time (default: one a core)", number)
    .option("--frames <n>", "frames that the model takes of a clip (default: 49)", number)
    .option("--fps <n>", "frames a second of the model (default: 8)", number)
    .option("--where <expression>", 'which clips stay: "motion > 0.02 && sharpness >= 50" (default: all)')
    .option("--json", "print one JSON object: what was found");

const stage = (name: DataStage, help: string): CliCommand =>
  defineCommand<[string], DataFlags>({
    name,
    help,
    declare: dataFlags,
    async run([from], flags) {
      const { runStages } = await import("../data/run.ts");
      return await runStages(name, from, flags);
    },
  });

export const data: CliCommand = {
  name: "data",
  help: "make a data set from a folder of raw videos (docs/data.md)",
  commands: [
    stage("run", "all stages: scan, cut, measure, filter, and the data set's files"),
    stage("scan", "what the files are, by their content; what cannot be read is named"),
    stage("cut", "find changes of shot, and the clips between them"),
    stage("measure", "measure every clip: motion, sharpness, brightness, black bars, flicker"),
    stage("filter", "which clips stay, and what drops the others"),
  ],
};
