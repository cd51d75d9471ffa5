/**
 * The folder of a run. The checkpoint is all that a run goes on from; what else lies there follows from it or tells of it, and is written
 * after it. Each file takes the place of the one before whole, so that a process that is killed, or a full disk, leaves the last whole one.
 */
import { appendFile, mkdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { CogwheelError } from "../../base/errors.ts";
import { parseJsonObject } from "../../base/json-scan.ts";
import { systemWords } from "../../platform/system-error.ts";
import { checkWritable } from "#platform";
import { writeWhole } from "../files.ts";

/** A line of the log. */
export interface LoggedStep {
  readonly step: number;
  readonly loss: number;
  readonly clips: readonly { readonly timestep: number; readonly loss: number }[];
  readonly gradNorm: number;
  readonly lr: number;
  readonly seconds: number;
  readonly skipped?: true;
  readonly lossScale?: number;
  /** The share of a pack's budget that clips filled. */
  readonly fill?: number;
  /** Of the adapter's memory. */
  readonly bytes: number;
}

const CHECKPOINT = "checkpoint.safetensors";
const LOG = "log.jsonl";

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
    for (const name of [CHECKPOINT, LOG, "samples"]) await rm(this.at(name), { recursive: true, force: true });
  }

  async write(name: string, bytes: Uint8Array): Promise<void> {
    await writeWhole(this.at(name), bytes, "--out");
  }

  async save(checkpoint: Uint8Array): Promise<void> {
    await this.write(CHECKPOINT, checkpoint);
  }

  /** The log up to a step, which later lines are appended to. A run that was killed may have logged steps that it has to take again. */
  async openLog(upTo: number): Promise<LoggedStep[]> {
    const text = await readFile(this.at(LOG), "utf8").catch(() => "");
    const steps = new Map<number, LoggedStep>();
    for (const line of text.split("\n")) {
      if (line === "") continue;
      try {
        const step = parseJsonObject(line, (rule) => new Error(rule)) as unknown as LoggedStep;
        if (Number.isInteger(step.step) && step.step <= upTo && Array.isArray(step.clips)) steps.set(step.step, step);
      } catch {
        // the half of a line, of a process that was killed
      }
    }
    const kept = [...steps.values()].sort((a, b) => a.step - b.step);
    await this.write(LOG, new TextEncoder().encode(kept.map((step) => `${JSON.stringify(step)}\n`).join("")));
    return kept;
  }

  async log(step: LoggedStep): Promise<void> {
    await appendFile(this.at(LOG), `${JSON.stringify(step)}\n`);
  }
}
