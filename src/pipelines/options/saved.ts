/** What saved latents keep of the options that a run was asked for, and what a run that goes on takes of them. */
import type { GenerateOptions } from "../options.ts";
import type { Task } from "../../models/cogvideox/task.ts";
import type { Option, Saved, ValueRule } from "./option.ts";
import { OPTION_LIST, ofTask, type OPTIONS, type OptionName } from "./table.ts";

type Table = typeof OPTIONS;
type Kept<T> = T extends Option<infer V, infer S> ? (S extends "named" ? string : V) : never;

/** The options that are kept, as the file has them; of adapters their names and scales. `task` is what the run began with. */
export type SavedSettings = { -readonly [K in keyof Table as Table[K] extends Option<unknown, Saved> ? K : never]?: Kept<Table[K]> } & {
  task?: Task;
};

/** What JSON has for a value. */
export type SavedType = "number" | "string" | "boolean" | "list of numbers";
const TYPES: Partial<Record<ValueRule<unknown>["kind"], SavedType>> = { number: "number", numbers: "list of numbers", switch: "boolean" };

/** Is a value of JSON of this type? */
export const isSaved = (value: unknown, type: SavedType): boolean =>
  type === "list of numbers" ? Array.isArray(value) && value.every((v) => typeof v === "number") : typeof value === type;

/** Every name in the settings of a file, with the type of its value. */
export const SAVED_TYPES: ReadonlyMap<string, SavedType> = new Map([
  ...OPTION_LIST.flatMap(([name, { saved, values }]) => (saved ? [[name, TYPES[values.kind] ?? "string"] as const] : [])),
  ["task", "string"],
]);

/** What a file keeps of these options, in the order of the table. */
export function savedSettings(options: Omit<Partial<GenerateOptions>, "loras"> & { loras?: string; task?: Task }): SavedSettings {
  const given: Readonly<Record<string, unknown>> = { ...options };
  return Object.fromEntries([...SAVED_TYPES.keys()].filter((name) => given[name] !== undefined).map((name) => [name, given[name]]));
}

/** What a run of this task takes of the settings of the one that it goes on from, where it is not told otherwise. */
export function takenUp(settings: SavedSettings, task: Task): Omit<SavedSettings, "loras" | "task"> {
  const { loras, task: _, ...taken } = settings;
  return ofTask(taken, task);
}

/** Options that cannot change once steps were made. */
export const FIXED: readonly OptionName[] = OPTION_LIST.filter(([, { saved }]) => saved === "fixed").map(([name]) => name);
