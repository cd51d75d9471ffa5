/**
 * What those who want small work done and the workers of a queue write to each other, in the queue's store.
 *
 * | key, blob or hint | what |
 * | --- | --- |
 * | `tasks.LIST` | a list of tasks: what it is for, until when whoever wants it done is there |
 * | `task.LIST.TASK` | a task: what is asked, who does it, what came out |
 * | blob `task.LIST.TASK.input-…`, `.result-…` | named by their content |
 * | hint `task.KIND.LIST.TASK` | that the task waits |
 */
import type { KeyValues } from "../jobs/backend.ts";
import { readRecord, type Stored } from "../jobs/records.ts";
import type { BoardPlaces } from "../jobs/task-board.ts";
import type { BlobReference, TaskRecord } from "../jobs/tasks.ts";

/** `encode`: clips and captions that a training learns from; `caption`: requests to a model that sees. */
export const TASK_KINDS = ["encode", "caption"] as const;
export type TaskKind = (typeof TASK_KINDS)[number];

export interface TaskList {
  /** Hexadecimal digits: the same when whoever wants it is started again. */
  readonly id: string;
  readonly kind: TaskKind;
  /** Of the engine. */
  readonly version: string;
  /** The model that is wanted, and where results are kept, for people. */
  readonly model: string;
  readonly at?: string;
  /** Tasks that are done, of so many. */
  readonly done: number;
  readonly all: number;
  /** Milliseconds since 1970: after that the list is left alone. */
  readonly until: number;
}

/** @typeParam A what is asked, which JSON can hold: with all that a worker must have for it */
export interface ListedTask<A> extends TaskRecord {
  readonly ask: A;
  /** What does not fit a record. */
  readonly input?: BlobReference;
}

/** Hints of tasks begin so. */
export const TASK_HINTS = "task.";
const PREFIX = "tasks.";

export const listKey = (list: string): string => PREFIX + list;
export const taskPrefix = (list: string): string => `task.${list}.`;
export const taskKey = (list: string, task: string): string => taskPrefix(list) + task;
export const hintOfTask = (kind: TaskKind, list: string, task: string): string => `${TASK_HINTS}${kind}.${list}.${task}`;

export function parseTaskHint(hint: string): { kind: string; list: string; task: string } | undefined {
  const [, kind, list, task] = /^task\.([a-z]+)\.([0-9a-f]+)\.([0-9a-f]+)$/.exec(hint) ?? [];
  return kind === undefined ? undefined : { kind, list: list!, task: task! };
}

export const listIds = async (values: KeyValues): Promise<string[]> => (await values.keys(PREFIX)).map((key) => key.slice(PREFIX.length));

/** Where lists are. */
export const LISTS: BoardPlaces<ListedTask<unknown>> = {
  room: "tasks",
  ids: listIds,
  key: listKey,
  prefix: taskPrefix,
  blobsOf: ({ input, result }) => [input, result].flatMap((one) => one?.blob ?? []),
};

export const readList = (values: KeyValues, id: string): Promise<Stored<TaskList> | undefined> =>
  readRecord<TaskList>(values, listKey(id), "tasks");
export const readTask = <A>(values: KeyValues, key: string): Promise<Stored<ListedTask<A>> | undefined> =>
  readRecord<ListedTask<A>>(values, key, "tasks");
