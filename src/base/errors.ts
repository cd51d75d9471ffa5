/** The error that users meet. */
// Every room imports this file, so what is imported here is there before any class is defined, however a bundler cuts its chunks.
import "./dispose.ts";
import { shortened, visible } from "./visible.ts";

/**
 * What kind of thing went wrong: for programs, which must not read messages. These stay as they are from version to version; one may come
 * to be told by a more particular code only when that code is new.
 */
export type ErrorCode =
  /** What was asked for is wrong, or the model cannot do it. */
  | "invalid-request"
  /** A checkpoint, an adapter or a part of them is not there, damaged, or of a kind that is not read. */
  | "model"
  /** A server of models did not give what was asked of it. */
  | "hub"
  /** More memory than there is. */
  | "out-of-memory"
  /** There is no adapter, or not this one, or the device was lost. */
  | "device"
  /** A file of the user's cannot be read or written. */
  | "file"
  /** The caller's signal was aborted, or the model was closed. */
  | "aborted"
  | "failed";

/** What errors of a room are about, unless they say it themselves. */
const OF_ROOM: Readonly<Record<string, ErrorCode>> = {
  adapter: "device",
  caption: "invalid-request",
  checkpoint: "model",
  cli: "invalid-request",
  data: "invalid-request",
  denoise: "invalid-request",
  discriminator: "invalid-request",
  distill: "invalid-request",
  filter: "invalid-request",
  generate: "invalid-request",
  gpu: "device",
  hub: "hub",
  input: "file",
  label: "invalid-request",
  lora: "model",
  output: "file",
  queue: "invalid-request",
  rules: "invalid-request",
  serve: "invalid-request",
  tokenizer: "model",
  train: "invalid-request",
  training: "invalid-request",
  validate: "invalid-request",
  video: "file",
  weights: "model",
};

export interface CogwheelErrorOptions {
  cause?: unknown;
  /** Default: what errors of its room are about. */
  code?: ErrorCode;
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
  override readonly name: string = "CogwheelError";
  readonly code: ErrorCode;
  constructor(
    readonly room: string,
    rule: string,
    { lines = [], code, ...options }: CogwheelErrorOptions = {},
  ) {
    super([`[${room}] ${shown(rule)}`, ...lines.map(shown)].join("\n"), options);
    this.code = code ?? (Object.hasOwn(OF_ROOM, room) ? OF_ROOM[room]! : "failed");
  }
}

const shown = (text: string): string => shortened(visible(text));
