/** Lists of tasks that are in a queue, for people who look at it. */
import type { KeyValues } from "../jobs/backend.ts";
import { listIds, readList, readTask, type TaskList, taskPrefix } from "./records.ts";

export interface QueuedTasks extends Omit<TaskList, "until"> {
  /** Was whoever wants them heard of lately? Without that nothing is done. */
  readonly asked: boolean;
  /** Tasks that nobody does yet, of those that are in the queue. */
  readonly waiting: number;
  /** Who does those that are being done now. */
  readonly doing: readonly string[];
  /** What a worker failed with last. */
  readonly failure?: string;
}

/** All of them; what cannot be read is left out. */
export async function queuedTasks(values: KeyValues, now = Date.now()): Promise<QueuedTasks[]> {
  const lists = await Promise.all(
    (await listIds(values)).map(async (id): Promise<QueuedTasks | undefined> => {
      const list = (await readList(values, id).catch(() => undefined))?.record;
      if (!list) return undefined;
      const { until, ...told } = list;
      const read = (await values.keys(taskPrefix(id))).map((key) => readTask(values, key).catch(() => undefined));
      const tasks = (await Promise.all(read)).flatMap((one) => one?.record ?? []);
      const open = tasks.filter(({ result }) => !result);
      const doing = open.flatMap(({ lease }) => (lease && lease.until > now ? [lease.worker] : []));
      const failure = tasks.findLast(({ failure }) => failure !== undefined)?.failure;
      return { ...told, asked: until > now, waiting: open.length - doing.length, doing, ...(failure === undefined ? {} : { failure }) };
    }),
  );
  return lists.flatMap((list) => list ?? []);
}
