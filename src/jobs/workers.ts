/** Who works: each worker says now and then that it is there, and what it can do. */
import type { Settings } from "../pipelines/settings.ts";
import type { Digests, JobStage } from "./stages.ts";
import type { KeyValues } from "./backend.ts";
import { readRecord, replaceRecord } from "./records.ts";

export interface WorkerRecord {
  readonly id: string;
  /** Of the engine. */
  readonly version: string;
  readonly models: readonly {
    readonly name: string;
    /** Digests of its weights. */
    readonly weights: Digests;
    /** How they are stored on the adapter. */
    readonly dtype: string;
    /** What a generation is where nothing else is asked for. */
    readonly settings: Settings;
    /** What it begins from, beside a prompt. */
    readonly takes: string;
    /** Seconds of the worker's stages of such a generation, by rates that were measured on its adapter; undefined where none were. */
    readonly seconds?: number;
  }[];
  /** What it does of a job; in records of older versions all. */
  readonly stages?: readonly JobStage[];
  readonly adapter: string;
  readonly kind: "hardware" | "software";
  /** Memory that the worker's process could take, where that can be known. */
  readonly memoryBytes?: number;
  /** Bytes of the adapter's memory that it was told to keep within. */
  readonly limitBytes?: number;
  /** Of sizes of jobs, by their key, why there is no room for them (`room.ts`); null where there is. */
  readonly room?: Readonly<Record<string, string | null>>;
  /** When it was last heard of, in milliseconds since 1970, and how often it says so. */
  readonly at: number;
  readonly everyMs: number;
}

/** Keys of their records begin so. */
export const WORKERS = "worker.";

/** Writes a worker's record, whatever it was. */
export async function announce(values: KeyValues, record: WorkerRecord): Promise<void> {
  // After a loss of power nobody is there any more.
  await replaceRecord(values, WORKERS + record.id, record, "ordered");
}

/** Takes a worker's record away. */
export async function leave(values: KeyValues, id: string): Promise<void> {
  const found = await values.get(WORKERS + id);
  if (found) await values.delete(WORKERS + id, found.revision);
}

/** A worker's record, however old. */
export const workerOf = async (values: KeyValues, id: string): Promise<WorkerRecord | undefined> =>
  (await readRecord<WorkerRecord>(values, WORKERS + id))?.record;

/** Announcements that a living worker may miss. */
const MISSED = 4;

export const isLiving = ({ at, everyMs }: WorkerRecord, now = Date.now()): boolean => now - at < MISSED * everyMs;

/** The workers that were heard of lately. Records of those that are long gone are removed. */
export async function livingWorkers(values: KeyValues, now = Date.now()): Promise<WorkerRecord[]> {
  const living: WorkerRecord[] = [];
  for (const key of await values.keys(WORKERS)) {
    const found = await readRecord<WorkerRecord>(values, key).catch(() => undefined);
    if (!found) continue;
    const { record, revision } = found;
    if (isLiving(record, now)) living.push(record);
    else if ((now - record.at) / record.everyMs > 1000) await values.delete(key, revision);
  }
  return living;
}
