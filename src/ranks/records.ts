/**
 * What a run of training and its workers write to each other, in the queue's store.
 *
 * | key, blob or hint | what |
 * | --- | --- |
 * | `train.RUN` | the run: which model, what is trained, until when its leader is there |
 * | `micro.RUN.N` | micro-step N of the step that is under way: who works on it, what came out |
 * | blob `train.RUN.parameters-…`, `.task-…`, `.batches-…`, `.result-…` | named by their content |
 * | hint `train.RUN.TASK.N` | that micro-step N waits; of another task it is an old one |
 */
import type { KeyValues } from "../jobs/backend.ts";
import { readRecord, type Stored } from "../jobs/records.ts";
import type { BoardPlaces } from "../jobs/task-board.ts";
import type { BlobReference, TaskRecord } from "../jobs/tasks.ts";
import type { ReplicaRecipe } from "../training/diloco/replica-workers.ts";
import type { GradientRecipe } from "../training/micro-workers.ts";

export interface SharedRun {
  readonly id: string;
  readonly model: string;
  /** Digest of the transformer's weights. */
  readonly weights: string;
  /** Of the engine. */
  readonly version: string;
  /** Of micro-steps, or of replicas that take rounds. */
  readonly recipe: GradientRecipe | ReplicaRecipe;
  /** Tasks of a step: its micro-steps, or the replicas of a round. */
  readonly accumulation: number;
  /** The step that is under way, from 1 on, of so many. */
  readonly step?: number;
  readonly steps?: number;
  /** Where its leader keeps it, for people. */
  readonly at?: string;
  /** Milliseconds since 1970: without its leader a run gives no work after that. */
  readonly until: number;
}

/** Its task is of its inputs and parameters. */
export interface SharedMicro extends TaskRecord {
  readonly parameters: BlobReference;
  readonly inputs: BlobReference;
  /** What is read on the way: of a replica's round the batches of each step. */
  readonly batches?: readonly BlobReference[];
}

/** Hints of training begin so. */
export const HINTS = "train.";
const PREFIX = "train.";

export const runKey = (run: string): string => PREFIX + run;
export const microPrefix = (run: string): string => `micro.${run}.`;
export const microKey = (run: string, micro: number): string => microPrefix(run) + micro;
export const hintOf = (run: string, task: string, micro: number): string => `${HINTS}${run}.${task}.${micro}`;

export function parseHint(hint: string): { run: string; task: string; micro: number } | undefined {
  const [, run, task, micro] = /^train\.([0-9a-f]+)\.([0-9a-f]+)\.(\d+)$/.exec(hint) ?? [];
  return run === undefined ? undefined : { run, task: task!, micro: Number(micro) };
}

/** Does a run leave the rounds of replicas to workers, and not micro-steps? */
export const takesRounds = (recipe: SharedRun["recipe"]): recipe is ReplicaRecipe => "exchange" in recipe;

/** Blobs of a task. */
export const blobsOf = ({ parameters, inputs, batches = [], result }: Partial<SharedMicro>): string[] =>
  [parameters, inputs, ...batches, result].flatMap((one) => one?.blob ?? []);

/** Runs that there are, alive or not. */
export const runIds = async (values: KeyValues): Promise<string[]> => (await values.keys(PREFIX)).map((key) => key.slice(PREFIX.length));

/** Where runs are. */
export const RUNS: BoardPlaces<SharedMicro> = { room: "ranks", ids: runIds, key: runKey, prefix: microPrefix, blobsOf };

/** A run or a micro-step as it is stored. */
export const readShared = <T extends SharedRun | SharedMicro>(values: KeyValues, key: string): Promise<Stored<T> | undefined> =>
  readRecord<T>(values, key, "ranks");
