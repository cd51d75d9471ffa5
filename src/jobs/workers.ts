/** Who works: each worker says now and then that it is there, and what it can do. */
import type { Settings } from "../pipelines/settings.ts";
import type { Digests, JobStage } from "./stages.ts";
import type { KeyValues } from "./backend.ts";
import { replaceRecord } from "./records.ts";

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
  }[];
  /** What it does of a job; in records of older versions all. */
  readonly stages?: readonly JobStage[];
  readonly adapter: string;
  readonly kind: "hardware" | "software";
  /** Memory that the worker's process could take, where that can be known. */
  readonly memoryBytes?: number;
  /** When it was last heard of, in milliseconds since 1970, and how often it says so. */
  readonly at: number;
  readonly everyMs: number;
}

const PREFIX = "worker.";

/** Writes a worker's record, whatever it was. */
export async function announce(values: KeyValues, record: WorkerRecord): Promise<void> {
  await replaceRecord(values, PREFIX + record.id, record);
}

/** Takes a worker's record away. */
export async function leave(values: KeyValues, id: string): Promise<void> {
  const found = await values.get(PREFIX + id);
  if (found) await values.delete(PREFIX + id, found.revision);
}

/** The workers that were heard of lately. Records of those that are long gone are removed. */
export async function livingWorkers(values: KeyValues, now = Date.now()): Promise<WorkerRecord[]> {
  const living: WorkerRecord[] = [];
  for (const key of await values.keys(PREFIX)) {
    const found = await values.get(key);
    if (!found) continue;
    const record = JSON.parse(new TextDecoder().decode(found.value)) as WorkerRecord;
    const missed = (now - record.at) / record.everyMs;
    if (missed < 4) living.push(record);
    else if (missed > 1000) await values.delete(key, found.revision);
  }
  return living;
}
