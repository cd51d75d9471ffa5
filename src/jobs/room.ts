/**
 * Whether a worker has the memory for a job, by its plan. Only the worker can tell: plans follow from its adapter, its weights and its
 * limit. It tells what it found in its record, so that whoever asks for a video, or looks at one that waits, need not plan.
 */
import { CogwheelError } from "../base/errors.ts";
import { pause } from "../base/pause.ts";
import { sha256 } from "../base/sha256.ts";
import { bytesText } from "../base/units.ts";
import type { CogVideoX } from "../pipelines/cogvideox/pipeline.ts";
import { stageSeconds } from "../pipelines/cogvideox/seconds.ts";
import type { PlannedStage } from "../pipelines/cogvideox/stages.ts";
import { defined } from "../pipelines/options.ts";
import type { KeyValues } from "./backend.ts";
import { axisOf } from "./clip.ts";
import { clipPlanner } from "./clip-cuts.ts";
import type { JobRequest } from "./job.ts";
import { readRecord, replaceRecord } from "./records.ts";
import type { JobStage } from "./stages.ts";
import { workerOf, type WorkerRecord } from "./workers.ts";

/** What of a request decides how much memory it takes. */
export type JobSize = Pick<JobRequest, "model" | "kind" | "width" | "height" | "frames" | "guidance" | "split">;

/** What of a request is its size; other parts of it are left out. */
export const sizeOf = ({ model, kind, width, height, frames, guidance, split }: JobSize): JobSize => ({
  model,
  kind,
  ...defined({ width, height, frames, guidance, split }),
});

/** Equal for requests that take the same. */
export function sizeKey(size: JobSize): string {
  const { kind, model, width, height, frames, guidance } = size;
  const axis = axisOf(size);
  return JSON.stringify([model, kind, width, height, frames, guidance === undefined ? null : guidance > 1, ...(axis ? [axis] : [])]);
}

/** The parts of a plan that a stage loads. */
const LOADS: Readonly<Record<JobStage, readonly PlannedStage["stage"][]>> = {
  text: ["text encoder"],
  denoise: ["transformer"],
  decode: ["encoder", "decoder"],
};

/** What a worker may take. */
export interface Room {
  /** Bytes of the adapter's memory, where the worker was given a limit. */
  readonly limit: number | undefined;
  /** The most bytes that the machine had free, where that is known. */
  readonly free: number | undefined;
}

/** Bytes of an adapter's memory that may be taken; undefined where nobody knows. */
export const roomBytes = ({ gpu }: CogVideoX, { limit, free }: Room): number | undefined =>
  limit ?? (gpu.caps.kind === "software" ? free : undefined);

/** Why a worker has no room for jobs of a size: the rule and what it has; undefined where it has, or another rule is broken anyway. */
export function noRoom(model: CogVideoX, size: JobSize, stages: Iterable<JobStage>, room: Room): string | undefined {
  const { width, height, frames, guidance, kind } = size;
  const task = kind === "extension" ? "image" : kind;
  const has = roomBytes(model, room);
  if (has === undefined) return undefined;
  try {
    // Without a limit, as within one what takes too much is planned as it can be.
    const options = { ...defined({ width, height, frames, guidance }), task, memoryBytes: Number.MAX_SAFE_INTEGER };
    const loads = new Set([...stages].flatMap((stage) => LOADS[stage]));
    const axis = axisOf(size);
    const least = model.leastMemoryBytes(options, loads, axis && clipPlanner(axis));
    if (least <= has) return undefined;
    const unsplit = axis && model.leastMemoryBytes(options, loads);
    const without = unsplit !== undefined && unsplit <= has ? ` (without --split ${bytesText(unsplit, 1)})` : "";
    const free = room.limit === undefined ? " of free memory" : "";
    return `needs ${bytesText(least, 1)} at the least${without}, has ${bytesText(has, 1)}${free}`;
  } catch (error) {
    // What the model cannot make at all is the request's fault, and is told when it is begun.
    if (error instanceof CogwheelError) return undefined;
    throw error;
  }
}

/** Seconds that these stages of a video take at the model's own settings; undefined where nobody has measured how fast the adapter is. */
export function videoSeconds(model: CogVideoX, stages: Iterable<JobStage>): number | undefined {
  if (!model.rates) return undefined;
  const loads = new Set([...stages].flatMap((stage) => LOADS[stage]));
  try {
    const times = model.times(model.rates).filter(({ stage }) => loads.has(stage));
    return times.reduce((seconds, time) => seconds + stageSeconds(time), 0);
  } catch (error) {
    // This adapter cannot have the model's own size: it may still make smaller videos.
    if (error instanceof CogwheelError) return undefined;
    throw error;
  }
}

const ASK = "ask.";

/** A question: have workers of this model room for such jobs? */
interface Question {
  readonly size: JobSize;
}

/** What is asked of workers, from now on. */
export async function* questions(values: KeyValues, signal: AbortSignal): AsyncGenerator<JobSize, void> {
  for await (const { key, entry } of values.watch(ASK, signal)) {
    const found = entry && (await readRecord<Question>(values, key).catch(() => undefined));
    if (found) yield found.record.size;
  }
}

/** Asks workers that have not told yet, and waits for their answers, for `ms` at most. Resolves to their records as they are then. */
export async function askForRoom(
  values: KeyValues,
  workers: readonly WorkerRecord[],
  request: JobSize,
  ms: number,
): Promise<readonly WorkerRecord[]> {
  const size = sizeKey(request);
  const told = ({ room }: WorkerRecord): boolean => room !== undefined && Object.hasOwn(room, size);
  if (workers.every(told)) return workers;
  const key = ASK + (await sha256(new TextEncoder().encode(size))).slice(0, 16);
  await replaceRecord(values, key, { size: sizeOf(request) } satisfies Question, "ordered");
  const until = Date.now() + ms;
  let records = workers;
  for (let wait = 10; Date.now() < until && !records.every(told); wait = Math.min(100, 1.5 * wait)) {
    await pause(wait);
    const read = await Promise.all(records.map(async (one) => (told(one) ? one : await workerOf(values, one.id))));
    records = read.flatMap((one) => one ?? []);
  }
  const asked = await values.get(key);
  if (asked) await values.delete(key, asked.revision);
  return records;
}
