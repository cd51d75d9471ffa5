/** The error that users meet. */
// Every room imports this file, so what is imported here is there before any class is defined, however a bundler cuts its chunks.
import "./dispose.ts";
import { shortened, visible } from "./visible.ts";

export interface CogwheelErrorOptions {
  cause?: unknown;
  /** What is listed below the rule, a line each. */
  lines?: readonly string[];
}

/**
 * Every error a user can meet: `[room] rule, got value; remedy.`
 * `room` names the part of the engine (an op, `checkpoint`, `cli` …) so that a report says where to look.
 *
 * A message is made of names and values out of files and from servers. The rule is therefore one line, in which control characters and
 * such are spelled out and very long values cut, and so is each of `lines`.
 */
export class CogwheelError extends Error {
  override readonly name = "CogwheelError";
  constructor(
    readonly room: string,
    rule: string,
    { lines = [], ...options }: CogwheelErrorOptions = {},
  ) {
    super([`[${room}] ${shown(rule)}`, ...lines.map(shown)].join("\n"), options);
  }
}

const shown = (text: string): string => shortened(visible(text));
