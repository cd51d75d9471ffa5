/** `cogwheel data distill`: a small model learns to write captions as a large one does. */
import type { Command } from "commander";
import { type CliCommand, defineCommand } from "../command.ts";
import type { DistillCompareFlags, DistillExportFlags, DistillTrainFlags } from "../data/distill.ts";
import { number } from "../flags.ts";

/** Which pairs are held out. */
const pairFlags = (command: Command): Command =>
  command
    .argument("<dataset>", "folder of a data set that was captioned by steps")
    .option("--validation <share>", "share of the pairs that is held out, by source (default: 0.1)", number)
    .option("--seed <n>", "another one holds out other sources (default: 0)", number)
    .option("--teacher <model>", "merges of this model alone, where several were asked (default: each clip's last)")
    .option("--json", "print one JSON object");

const exportPairs = defineCommand<[string], DistillExportFlags>({
  name: "export",
  help: "write the teacher's merges as a set for OpenAI, LLaMA-Factory, TRL and axolotl",
  declare: (command) =>
    pairFlags(command)
      .requiredOption("--out <folder>", "folder for the set")
      .option("--base <model>", "the model to be tuned, for configs that name it", "meta-llama/Llama-3.1-8B-Instruct"),
  async run([dataset], flags) {
    const { distillExport } = await import("../data/distill.ts");
    await distillExport(dataset, flags);
  },
});

const trainStudent = defineCommand<[string], DistillTrainFlags>({
  name: "train",
  help: "tune a student on such a set: by OpenAI's fine-tuning API, or by TRL in a Python of yours",
  declare: (command) =>
    command
      .argument("<folder>", "what `distill export` wrote")
      .requiredOption("--base <model>", "the model to be tuned")
      .option("--url <address>", "address of the fine-tuning API, such as https://api.openai.com/v1")
      .option("--key-env <name>", "variable of the environment that holds the key (default: COGWHEEL_API_KEY)")
      .option("--python <path>", "a Python with trl, in place of an API")
      .option("--epochs <n>", "times that the set is gone through (default: the API's own; TRL: 1)", number)
      .option("--batch <n>", "pairs of a step (TRL; default: 4)", number)
      .option("--lr <rate>", "learning rate (TRL; default: 1e-4)", number)
      .option("--rank <n>", "rank of the adapter, 0 for all weights (TRL; default: 64)", number)
      .option("--suffix <name>", "in the student's name (API)")
      .option("--seed <n>", "of the training", number)
      .option("--poll-seconds <n>", "seconds between looks at the job (API; default: 20)", number)
      .option("--json", "print one JSON object"),
  async run([folder], flags) {
    const { distillTrain } = await import("../data/distill.ts");
    await distillTrain(folder, flags);
  },
});

const compareStudent = defineCommand<[string], DistillCompareFlags>({
  name: "compare",
  help: "measure a student on held-out clips against its teacher, and the teacher against itself",
  printsResult: true,
  declare: (command) =>
    pairFlags(command)
      .requiredOption("--url <address>", "the student's address")
      .option("--model <name>", "its name there (default: the only one)")
      .option("--key-env <name>", "variable of the environment that holds its key (default: the teacher's at its address, else none)")
      .requiredOption("--teacher-url <address>", "the teacher's address")
      .option("--teacher-model <name>", "its name there (default: the only one)")
      .option("--teacher-key-env <name>", "variable that holds its key (default: COGWHEEL_API_KEY)")
      .option("--judge-url <address>", "a judge's address (default: the teacher judges)")
      .option("--judge-model <name>", "its name there (default: the only one)")
      .option("--judge-key-env <name>", "variable that holds its key (default: as the student's)")
      .option("--clips <n>", "held-out clips at most (default: 200)", number)
      .option("--floor <share>", "share of the teacher's own measure that each must reach (default: 0.9)", number)
      .option("--tokenizer <checkpoint>", "whose tokenizer counts tokens")
      .option("--rules <file>", "rules in place of the product's own")
      .option("--max-requests <n>", "requests at most", number)
      .option("--out <file>", "keep the report as JSON"),
  async run([dataset], flags) {
    const { distillCompare } = await import("../data/distill.ts");
    return await distillCompare(dataset, flags);
  },
});

export const distill: CliCommand = {
  name: "distill",
  help: "a small model learns to write captions as a large one does (docs/captions.md)",
  commands: [exportPairs, trainStudent, compareStudent],
};
