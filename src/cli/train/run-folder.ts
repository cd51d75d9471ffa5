/**
 * The folder of a run. The checkpoint is all that a run goes on from; what else lies there follows from it or tells of it, and is written
 * after it. Each file takes the place of the one before whole, so that a process that is killed, or a full disk, leaves the last whole one.
 */
import { appendFile, mkdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { CogwheelError } from "../../base/errors.ts";
import { parseJsonObject } from "../../base/json-scan.ts";
import type { RoundReport, StepClip } from "../../training/options.ts";
import { systemWords } from "../../platform/system-error.ts";
import { checkWritable } from "#platform";
import { writeWhole } from "../files.ts";

/** A line of the log. */
export interface LoggedStep {
  readonly step: number;
  readonly loss: number;
  readonly clips: readonly StepClip[];
  readonly gradNorm: number;
  readonly lr: number;
  readonly seconds: number;
  readonly skipped?: true;
  readonly lossScale?: number;
  /** The share of a pack's budget that clips filled. */
  readonly fill?: number;
  /** Of the adapter's memory. */
  readonly bytes: number;
  /** From 1, of a run in stages. */
  readonly stage?: number;
  /** Of a run by DiLoCo, whose line this is for a round. */
  readonly round?: RoundReport;
  /** Operations of the step, as planned. */
  readonly flops: number;
}

/** A line of the log of what held-out clips lose. */
export interface HeldOutLoss {
  /** After which step. */
  readonly step: number;
  /** Operations of all steps so far. */
  readonly flops: number;
  readonly loss: number;
  /** By timestep. */
  readonly losses: Readonly<Record<string, number>>;
}

const CHECKPOINT = "checkpoint.safetensors";
export const LOG = "log.jsonl";
export const HELD_OUT = "held-out.jsonl";

export class RunFolder {
  private constructor(readonly path: string) {}

  static async open(path: string): Promise<RunFolder> {
    await checkWritable(join(path, CHECKPOINT), "file", "--out");
    await mkdir(path, { recursive: true });
    return new RunFolder(path);
  }

  at = (...names: string[]): string => join(this.path, ...names);

  /** The checkpoint of the run that is there. */
  async checkpoint(): Promise<Uint8Array<ArrayBuffer> | undefined> {
    try {
      return new Uint8Array(await readFile(this.at(CHECKPOINT)));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
      throw new CogwheelError(
        "train",
        `${this.at(CHECKPOINT)} must be readable, got ${systemWords(error)}; correct it, or choose another --out`,
        {
          cause: error,
        },
      );
    }
  }

  /** Takes the run that is there away, its checkpoint first. */
  async clear(): Promise<void> {
    for (const name of [CHECKPOINT, LOG, HELD_OUT, "samples"]) await rm(this.at(name), { recursive: true, force: true });
  }

  async write(name: string, bytes: Uint8Array): Promise<void> {
    await writeWhole(this.at(name), bytes, "--out");
  }

  async save(checkpoint: Uint8Array): Promise<void> {
    await this.write(CHECKPOINT, checkpoint);
  }

  /** The log up to a step, which later lines are appended to. A run that was killed may have logged steps that it has to take again. */
  openLog = (upTo: number): Promise<LoggedStep[]> => this.openLines<LoggedStep>(LOG, upTo, ({ clips }) => Array.isArray(clips));
  /** The same of held-out clips. */
  openHeldOut = (upTo: number): Promise<HeldOutLoss[]> => this.openLines<HeldOutLoss>(HELD_OUT, upTo, ({ loss }) => Number.isFinite(loss));

  /** Lines of a log up to a step, the last one of each; later ones are taken away. */
  async openLines<T extends { readonly step: number }>(name: string, upTo: number, isWhole: (line: T) => boolean): Promise<T[]> {
    const kept = (await linesOf<T>(this.at(name))).filter((line) => line.step <= upTo && isWhole(line));
    const last = new Map(kept.map((line) => [line.step, line]));
    const lines = [...last.values()].sort((a, b) => a.step - b.step);
    await this.write(name, new TextEncoder().encode(lines.map((line) => `${JSON.stringify(line)}\n`).join("")));
    return lines;
  }

  /** Adds a line to a log; a full disk ends no run: the next checkpoint tells. */
  append = (name: string, line: object): Promise<void> => appendFile(this.at(name), `${JSON.stringify(line)}\n`).catch(() => undefined);
}

/** What another run's held-out clips lost; throws where it measured none. */
export async function heldOutOf(folder: string): Promise<HeldOutLoss[]> {
  const lines = (await linesOf<HeldOutLoss>(join(folder, HELD_OUT))).filter(
    ({ loss, flops }) => Number.isFinite(loss) && Number.isFinite(flops),
  );
  if (lines.length === 0)
    throw new CogwheelError("train", `beside must be the folder of a run with held-out clips, got none measured in ${folder}; correct it`);
  return lines;
}

/** Lines of JSON that tell a step, as far as they are whole. */
async function linesOf<T extends { readonly step: number }>(path: string): Promise<T[]> {
  const text = await readFile(path, "utf8").catch(() => "");
  return text.split("\n").flatMap((line) => {
    if (line === "") return [];
    try {
      const value = parseJsonObject(line, (rule) => new Error(rule)) as unknown as T;
      return Number.isInteger(value.step) ? [value] : [];
    } catch {
      return []; // the half of a line, of a process that was killed
    }
  });
}
