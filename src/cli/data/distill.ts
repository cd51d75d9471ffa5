/** `cogwheel data distill`: a set out of the teacher's merges, a student out of the set, and the student before held-out clips. */
import { spawn } from "node:child_process";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { CogwheelError } from "../../base/errors.ts";
import { captionModel } from "../../curation/caption/run.ts";
import { WORK_FOLDER } from "../../curation/curate-node.ts";
import { compare, type StudentScores } from "../../curation/distill/compare.ts";
import { checkDistillFiles, distillFiles } from "../../curation/distill/files.ts";
import { fineTune, type FineTuneState } from "../../curation/distill/fine-tune.ts";
import { type SplitPairs, teacherPairs } from "../../curation/distill/pairs.ts";
import { trlScript } from "../../curation/distill/trl-script.ts";
import { Account } from "../../curation/endpoint/spent.ts";
import { samplesOf } from "../../curation/export/rows.ts";
import { fileLedgerStore } from "../../curation/ledger/ledger-node.ts";
import { Ledger, memoryLedgerStore } from "../../curation/ledger/ledger.ts";
import { defined } from "../../pipelines/options.ts";
import { systemWords } from "../../platform/system-error.ts";
import { readInput, writeWhole } from "../files.ts";
import { interruptible } from "../terminal/interrupt.ts";
import { print, printJson, printPath } from "../terminal/output.ts";
import { Progress } from "../terminal/progress.ts";
import { table } from "../terminal/table.ts";
import { counter, rulesOf } from "./caption.ts";
import { spentText } from "./caption-told.ts";
import { keyFrom, namedKey } from "./endpoints.ts";
import { SOME_FAILED } from "./session.ts";

/** Which pairs are learned from and which are held out: the same in `export` and `compare`. */
export interface PairFlags {
  readonly validation?: number;
  readonly seed?: number;
  readonly teacher?: string;
  readonly json?: boolean;
}

async function pairsOf(dataset: string, { validation, seed, teacher }: PairFlags): Promise<SplitPairs> {
  const rows = samplesOf(new TextDecoder().decode(await readInput(join(dataset, "metadata.jsonl"))));
  const ledger = await Ledger.open(fileLedgerStore(join(dataset, WORK_FOLDER, "ledger.jsonl")));
  return teacherPairs(ledger, rows, defined({ validation, seed, teacher }));
}

export interface DistillExportFlags extends PairFlags {
  readonly out: string;
  readonly base: string;
}

export async function distillExport(dataset: string, flags: DistillExportFlags): Promise<void> {
  const pairs = await pairsOf(dataset, flags);
  const files = distillFiles(pairs, flags.base);
  const wrong = checkDistillFiles(files);
  for (const [name, text] of Object.entries(files)) await writeWhole(join(flags.out, name), new TextEncoder().encode(text), "--out");
  const told = { train: pairs.train.length, validation: pairs.validation.length, files: Object.keys(files), warnings: wrong };
  if (flags.json) return printJson(told);
  print(`${told.train} pairs to learn from, ${told.validation} held out, of other sources`);
  for (const one of wrong) print(`note: ${one}`);
  printPath(flags.out);
}

export interface DistillTrainFlags {
  readonly base: string;
  readonly url?: string;
  readonly keyEnv?: string;
  readonly python?: string;
  readonly epochs?: number;
  readonly batch?: number;
  readonly lr?: number;
  readonly rank?: number;
  readonly suffix?: string;
  readonly seed?: number;
  readonly pollSeconds?: number;
  readonly json?: boolean;
}

/** The file of a job that is under way, beside the pairs. */
const STATE = "fine-tune.json";

export async function distillTrain(folder: string, flags: DistillTrainFlags): Promise<void> {
  const { url, python, base, epochs, seed, suffix, pollSeconds, keyEnv, json } = flags;
  if ((url === undefined) === (python === undefined))
    throw new CogwheelError(
      "distill",
      "a student is tuned by one of --url (OpenAI's fine-tuning API) and --python (TRL), " +
        `got ${url === undefined ? "neither" : "both"}; name one`,
    );
  using progress = new Progress();
  using interruption = interruptible((message) => progress.note(message));
  const { signal } = interruption;
  if (python !== undefined) {
    const script = join(folder, "train.py");
    await writeFile(
      script,
      trlScript({ base, ...defined({ epochs, seed, batch: flags.batch, learningRate: flags.lr, rank: flags.rank }) }),
    );
    await run(python, script, signal);
    const student = JSON.parse(await readFile(join(folder, "student.json"), "utf8")) as object;
    return json ? printJson({ ...student, model: join(folder, "student") }) : printPath(join(folder, "student"));
  }
  const read = async (name: string): Promise<string> => new TextDecoder().decode(await readInput(join(folder, name)));
  const state = await readFile(join(folder, STATE), "utf8").then(
    (text) => JSON.parse(text) as FineTuneState,
    () => undefined,
  );
  const model = await fineTune({
    url: url!,
    base,
    train: await read("train.jsonl"),
    validation: await read("validation.jsonl"),
    ...defined({ key: keyFrom(keyEnv), epochs, suffix, seed, pollSeconds, state }),
    keep: (now) => writeWhole(join(folder, STATE), new TextEncoder().encode(`${JSON.stringify(now, null, 1)}\n`), "FOLDER"),
    signal,
    onStatus: (status) => progress.note(`fine-tuning: ${status}`),
  });
  if (json) printJson({ model });
  else print(model);
}

/** Runs the script with what it prints going to standard error: standard output is for the result. */
async function run(python: string, script: string, signal: AbortSignal): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const child = spawn(python, [script], { stdio: ["ignore", 2, 2], signal });
    child.on("error", (error: NodeJS.ErrnoException) => {
      if (signal.aborted) return reject(signal.reason as Error);
      reject(new CogwheelError("distill", `--python must be a Python that starts, got ${systemWords(error)} of ${python}; check the path`));
    });
    child.on("exit", (code, name) => {
      if (code === 0) resolve();
      else
        reject(
          new CogwheelError("distill", `training must end well, got ${name ?? `exit code ${code}`}; read what it printed above`, {
            code: "failed",
          }),
        );
    });
  });
}

export interface DistillCompareFlags extends PairFlags {
  readonly url: string;
  readonly model?: string;
  readonly keyEnv?: string;
  readonly teacherUrl: string;
  readonly teacherModel?: string;
  readonly teacherKeyEnv?: string;
  readonly judgeUrl?: string;
  readonly judgeModel?: string;
  readonly judgeKeyEnv?: string;
  readonly clips?: number;
  readonly floor?: number;
  readonly tokenizer?: string;
  readonly rules?: string;
  readonly maxRequests?: number;
  readonly out?: string;
}

export async function distillCompare(dataset: string, flags: DistillCompareFlags): Promise<number> {
  using progress = new Progress();
  using interruption = interruptible((message) => progress.note(message));
  const { signal } = interruption;
  const { validation: pairs } = await pairsOf(dataset, flags);
  const account = new Account(defined({ maxRequests: flags.maxRequests }));
  const none = await Ledger.open(memoryLedgerStore());
  const teacherKey = keyFrom(flags.teacherKeyEnv);
  /** The teacher's key goes to whom it is for: at its own address others have it too. */
  const model = async (url: string, name: string | undefined, keyEnv: string | undefined) => {
    const key = namedKey(keyEnv) ?? (url === flags.teacherUrl ? teacherKey : undefined);
    return await captionModel({ url, account, onWarning: (message) => progress.note(message), ...defined({ model: name, key }) }, none);
  };
  const { judgeUrl } = flags;
  const report = await compare(pairs, {
    student: await model(flags.url, flags.model, flags.keyEnv),
    teacher: await model(flags.teacherUrl, flags.teacherModel, flags.teacherKeyEnv),
    ...(judgeUrl === undefined ? {} : { judge: await model(judgeUrl, flags.judgeModel, flags.judgeKeyEnv) }),
    rules: (await rulesOf(flags)).caption,
    count: await counter(flags, (message) => progress.note(message)),
    ...defined({ clips: flags.clips, floor: flags.floor, seed: flags.seed }),
    signal,
    onProgress: (done, all) => progress.report("compare", done / all, `${done} of ${all}`),
  });
  if (flags.out !== undefined) {
    await mkdir(join(flags.out, ".."), { recursive: true });
    await writeWhole(flags.out, new TextEncoder().encode(`${JSON.stringify(report, null, 2)}\n`), "--out");
  }
  if (flags.json) printJson({ ...report, spent: account.spent });
  else {
    const { student, ceiling, floor, below } = report;
    const row = (name: string, of: keyof StudentScores): string[] => [
      name,
      student[of].toFixed(3),
      ceiling[of].toFixed(3),
      (floor * ceiling[of]).toFixed(3),
    ];
    print(
      table(
        ["measure", "student", "teacher again", "floor"],
        [
          row("chrF", "chrf"),
          row("ROUGE-L", "rougeL"),
          row("what is named", "names"),
          row("numbers", "numbers"),
          row("keeps the rules", "lawful"),
          row("judge", "judged"),
        ],
      ),
    );
    print(`${report.clips} clips, ${report.failed.length} failed; ${spentText(account.spent)}`);
    print(
      below.length
        ? `Below the floor: ${below.map(({ measure }) => measure).join(", ")}. Keep the teacher.`
        : "The student may take the teacher's place.",
    );
  }
  return report.below.length ? SOME_FAILED : 0;
}
