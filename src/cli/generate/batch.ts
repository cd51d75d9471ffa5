/** `generate --batch FILE.jsonl`: many requests of one model, which is opened once; a batch that is repeated goes on where it stopped. */
import { createHash } from "node:crypto";
import { appendFile, readFile, stat } from "node:fs/promises";
import { resolve } from "node:path";
import type { Command } from "commander";
import { availableMemoryBytes } from "#platform";
import { CogwheelError } from "../../base/errors.ts";
import { isObject } from "../../base/json-scan.ts";
import { visible } from "../../base/visible.ts";
import type { CogVideoX } from "../../pipelines/cogvideox/pipeline.ts";
import { readInput } from "../files.ts";
import { readFlags, type Flags } from "../flags.ts";
import { complain } from "../terminal/output.ts";
import { interruptible } from "../terminal/interrupt.ts";
import { readObject } from "./as-options.ts";
import { readAsked, type Asked, type GenerateFlags } from "./asked.ts";
import { checkPlaces } from "./checks.ts";
import { checkedSettings, generateOne, openModel, progressOf } from "./run.ts";

/** What belongs to the whole batch: the model is opened once, and standard output is shared. */
const OF_THE_BATCH = [
  ...["batch", "model", "variant", "adapter", "dtype", "transformer", "transformerConfig", "textEncoder", "vae"],
  ...["json", "progress", "quiet", "plan", "dryRun", "promptFile"],
];

const LINES = 100_000;
const LINES_BYTES = 64_000_000;

/** A line, read. */
interface Line {
  readonly number: number;
  /** What it asks for, with what was given for all: a line that is done is known by it. */
  readonly key: string;
  readonly words: readonly string[];
  readonly flags: Flags<GenerateFlags>;
}

/** Makes all lines. One that fails leaves the others; that it failed is thrown at the end. @param declare what declares the options of a line */
export async function generateBatch(
  words: readonly string[],
  flags: Flags<GenerateFlags>,
  declare: (command: Command) => Command,
): Promise<void> {
  const file = flags.own.batch!;
  if (words.length || flags.files.prompt !== undefined)
    throw new CogwheelError("generate", "the lines of a batch have their own prompts, got one beside --batch; leave it out");
  for (const name of ["out", "saveLatents", "report", "again"] as const)
    if (flags.own[name] !== undefined)
      throw new CogwheelError("generate", `each line of a batch says its own ${name}, got one beside --batch; write it into the lines`);
  const lines = readLines(new TextDecoder().decode(await readInput(file, { limit: LINES_BYTES })), file, flags, declare);
  const ledger = `${file}.done`;
  const done = await readDone(ledger);
  // All that can be wrong with a line by itself is told before the first is made.
  const left: { line: Line; asked: Asked }[] = [];
  for (const line of lines) {
    if (await isDone(done.get(line.key)?.shift())) continue;
    const asked = await readAsked(line.words, line.flags);
    await checkPlaces(asked);
    left.push({ line, asked });
  }
  using progress = progressOf(flags.own);
  using interruption = interruptible((text) => progress.note(text));
  const { signal } = interruption;
  if (left.length < lines.length)
    progress.say(`${lines.length - left.length} of ${lines.length} lines are done already, by ${visible(ledger)}.`);
  if (left.length === 0) return;
  await using model = await openKeeping(flags.own, { progress, signal });
  const failures: unknown[] = [];
  const failed = (line: Line, error: unknown): void => {
    failures.push(error);
    if (left.length > 1) complain(`line ${line.number}: ${(error as Error).message}`);
  };
  // What the model cannot do is told now, not when its turn comes in hours.
  const made = left.filter(({ line, asked }) => {
    try {
      checkedSettings(asked, model);
      return true;
    } catch (error) {
      failed(line, error);
      return false;
    }
  });
  const make = async (asked: Asked): Promise<readonly string[]> => {
    using own = progressOf(flags.own); // of this line alone
    return await generateOne(asked, { model, progress: own, signal, inBatch: true });
  };
  for (const [index, { line, asked }] of made.entries()) {
    progress.say(`${index + 1} of ${made.length}, line ${line.number}: ${visible(asked.prompt).slice(0, 100)}`);
    try {
      const written = await make(asked);
      if (written.length && !flags.own.plan && !flags.own.dryRun)
        await appendFile(ledger, `${JSON.stringify({ line: line.number, key: line.key, files: written.map((path) => resolve(path)) })}\n`);
    } catch (error) {
      if (signal.aborted) throw error;
      failed(line, error);
    }
  }
  if (failures.length)
    throw left.length === 1
      ? failures[0]
      : new CogwheelError(
          "generate",
          `every line must be made, got ${failures.length} of ${left.length} that failed; repeat the command for these`,
          {
            cause: failures[0],
            ...(failures[0] instanceof CogwheelError ? { code: failures[0].code } : {}),
          },
        );
}

function readLines(text: string, file: string, flags: Flags<GenerateFlags>, declare: (command: Command) => Command): Line[] {
  const lines: Line[] = [];
  const places = new Map<string, number>();
  const { batch: _, ...shared } = flags.own;
  for (const [index, raw] of text.split("\n").entries()) {
    if (raw.trim() === "") continue;
    const where = `${file}, line ${index + 1}`;
    let value: unknown;
    try {
      value = JSON.parse(raw);
    } catch (error) {
      throw new CogwheelError("cli", `${where}: must be JSON, got ${(error as Error).message}; write {"prompt": "…"}`, { cause: error });
    }
    const { prompt, options } = readObject(value, declare, { where, not: OF_THE_BATCH });
    const { given, files, own } = readFlags<GenerateFlags>(options);
    if (own.out !== undefined && /^-(\.\w+)?$/.test(own.out))
      throw new CogwheelError("cli", `${where}: standard output is the batch's, got --out ${own.out}; name a file`);
    for (const name of ["out", "saveLatents", "report"] as const) {
      const path = own[name];
      if (path === undefined) continue;
      const before = places.get(resolve(path));
      if (before !== undefined)
        throw new CogwheelError(
          "cli",
          `${where}: each line must write files of its own, got ${name} ${path} of line ${before}; name another`,
        );
      places.set(resolve(path), index + 1);
    }
    const merged = { given: { ...flags.given, ...given }, files: { ...flags.files, ...files }, own: { ...shared, ...own } };
    const { progress: _p, quiet: _q, json: _j, ...asks } = merged.own;
    const key = createHash("sha256")
      .update(JSON.stringify([prompt, merged.given, merged.files, asks]))
      .digest("hex")
      .slice(0, 32);
    lines.push({ number: index + 1, key, words: prompt === undefined ? [] : [prompt], flags: merged });
    if (lines.length > LINES) throw new CogwheelError("cli", `${file}: a batch may have ${LINES} lines, got more; cut it up`);
  }
  if (lines.length === 0) throw new CogwheelError("cli", `${file}: a batch must have a line, got none; write {"prompt": "…"} on each`);
  return lines;
}

/** The files of each line that was done, by its key; of lines that ask for the same, in turn. */
async function readDone(ledger: string): Promise<Map<string, (readonly string[])[]>> {
  const done = new Map<string, (readonly string[])[]>();
  for (const line of (await readFile(ledger, "utf8").catch(() => "")).split("\n")) {
    try {
      const value: unknown = JSON.parse(line);
      if (isObject(value) && typeof value["key"] === "string" && Array.isArray(value["files"]))
        done.set(value["key"], [...(done.get(value["key"]) ?? []), value["files"] as string[]]);
    } catch {
      // An end that was cut off, by a full disk or a lost process: that line is made again.
    }
  }
  return done;
}

/** Are its results still there? */
async function isDone(files: readonly string[] | undefined): Promise<boolean> {
  if (files === undefined) return false;
  for (const file of files) if (!(await stat(file).catch(() => null))) return false;
  return true;
}

/** Of an adapter of which nobody knows how much memory it has, what any has. */
const SMALL = 2e9;

/** Opens the model so that its parts stay between lines, where all of them have room beside each other. */
async function openKeeping(own: GenerateFlags, work: Parameters<typeof openModel>[1]): Promise<CogVideoX> {
  const model = await openModel(own, work);
  try {
    const together = model.requirements().reduce((sum, { peak }) => sum + peak, 0);
    const room = model.gpu.caps.kind === "software" ? (availableMemoryBytes() ?? 0) / 2 : SMALL;
    if (together > room) return model;
  } catch (error) {
    await model.close();
    throw error;
  }
  await model.close();
  return await openModel(own, work, true);
}
