/** What is told of an option of a generation, in one entry of the table (table.ts). */
import type { Task } from "../../models/cogvideox/task.ts";

/** Which values an option takes; `T` is their type. */
export interface ValueRule<T> {
  /** `given`: something that only an app can hand over, such as a function. */
  readonly kind: "text" | "number" | "numbers" | "bytes" | "choice" | "switch" | "frame" | "frames" | "adapters" | "given";
  /** Of a number: must it be whole, and where it may lie. */
  readonly whole?: boolean;
  readonly above?: number;
  readonly min?: number;
  readonly max?: number;
  /** Where it may lie, as errors say it, where the words that follow from its range are not these. */
  readonly range?: string;
  /** Of a choice: what may be chosen, and what a page calls it. */
  readonly choices?: Readonly<Record<string, string>>;
  /** Holds the type; has no value. */
  readonly type?: T;
}

/** A number; where it may lie follows from the model where nothing is said. */
export const number = (range: Pick<ValueRule<number>, "whole" | "above" | "min" | "max" | "range"> = {}): ValueRule<number> => ({
  kind: "number",
  ...range,
});
/** A number of bytes; a command and a page take it with its unit, such as 4GB. */
export const bytes: ValueRule<number> = {
  kind: "bytes",
  whole: true,
  min: 1,
  max: Number.MAX_SAFE_INTEGER,
  range: "a whole number of bytes above 0",
};
/** Whole numbers from 0 up, each below the one before. */
export const falling: ValueRule<readonly number[]> = { kind: "numbers" };
export const choice = <T extends string>(choices: Readonly<Record<T, string>>): ValueRule<T> => ({ kind: "choice", choices });
export const text: ValueRule<string> = { kind: "text" };
export const onOff: ValueRule<boolean> = { kind: "switch" };
export const given = <T>(kind: "frame" | "frames" | "adapters" | "given" = "given"): ValueRule<T> => ({ kind });

/**
 * How saved latents keep an option. `taken`: a run that goes on takes it where it is not told otherwise. `fixed`: likewise, and once
 * steps were made it cannot be another one. `named`: its value cannot be kept, its name is, and must be the same.
 */
export type Saved = "taken" | "fixed" | "named";

/** How a page shows an option; the control follows from its values. */
export interface PageControl {
  readonly label: string;
  /** The group of the form: what to begin from, the settings, those that few people need. `role` is a way to use the file that is begun from. */
  readonly at: "begin" | "role" | "settings" | "advanced";
  readonly hint?: string;
  /** Numbers: smallest, and between one and the next. Default: those of its values. */
  readonly min?: number;
  readonly step?: number;
  /** Numbers: of a few that the model can, one is chosen. */
  readonly listed?: boolean;
  /** What stands in an empty field. */
  readonly placeholder?: string;
  /** As wide as the form. */
  readonly wide?: boolean;
}

export interface Option<T, S extends Saved | undefined = Saved | undefined> {
  readonly values: ValueRule<T>;
  /** What errors call it. Default: its name. */
  readonly called?: string;
  /** What errors advise where a value is none that it takes. */
  readonly remedy?: string;
  /** What it is for, in a line: the command's help and the docs. */
  readonly help?: string;
  /** What is taken where it is left out, in words, where that is no value. */
  readonly otherwise?: string;
  /** What is taken where it is left out. */
  readonly fallback?: NoInfer<T>;
  /** Its name in a checkpoint's generation.json, whose advice is taken where it is left out. */
  readonly advice?: string;
  /** Only for these tasks. Default: for all. */
  readonly tasks?: readonly Task[];
  /**
   * As the command takes it: `--flag <argument>`. An argument called `file` is a path to what
   * the option takes; two numbers may share a flag.
   */
  readonly flag?: string;
  /** The command's help where the flag takes something else: a file. */
  readonly flagHelp?: string;
  readonly saved?: S;
  readonly page?: PageControl;
}

/** An entry of the table. */
export const option = <T, const S extends Saved | undefined = undefined>(told: Option<T, S>): Option<T, S> => told;

/** What a table's options hold, none of them required. */
export type OptionsOf<Table> = { -readonly [K in keyof Table]?: Table[K] extends Option<infer T, Saved | undefined> ? T : never };
