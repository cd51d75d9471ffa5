/** Errors from thread to thread: what they say, by which programs tell them apart, and what caused them. */
import { CogwheelError, type ErrorCode } from "../base/errors.ts";
import type { DenoiseState } from "../models/cogvideox/model.ts";
import { GenerationInterrupted } from "../pipelines/interrupted.ts";
import type { SentError } from "./protocol.ts";

/** The error of a call that the other side made, as it came back to here: it goes back as it was there. */
export class TheirError extends Error {
  constructor(
    readonly id: number,
    message: string,
  ) {
    super(message);
  }
}

/**
 * Told by their names, for the classes of the model's thread are of another bundle.
 * @param reason what the call was aborted with, where it was
 */
export function sentError(error: unknown, reason: unknown): SentError {
  if (reason !== undefined && error === reason) return { kind: "aborted" };
  if (error instanceof TheirError) return { kind: "own", id: error.id };
  if (!(error instanceof Error)) return { kind: "other", text: String(error) };
  const { code, state } = error as Partial<GenerationInterrupted>;
  return {
    kind: "error",
    name: error.name,
    message: error.message,
    ...(typeof code === "string" ? { code } : {}),
    ...(error.name === "GenerationInterrupted" ? { state } : {}),
    ...(error.cause === undefined ? {} : { cause: sentError(error.cause, reason) }),
  };
}

/** Where errors are that came back. */
export interface Known {
  /** What the call was aborted with. */
  readonly reason: unknown;
  /** What was thrown in answer to a call of the other side. */
  own(id: number): unknown;
}

/** The error as it would be had it been thrown here. */
export function receivedError(sent: SentError, known: Known): unknown {
  if (sent.kind === "aborted") return known.reason;
  if (sent.kind === "own") return known.own(sent.id);
  if (sent.kind === "other") return sent.text;
  const { name, message, code, state } = sent;
  const options = sent.cause === undefined ? {} : { cause: receivedError(sent.cause, known) };
  let error: Error;
  if (state !== undefined) {
    const interrupted = new GenerationInterrupted(state as DenoiseState, 0, options.cause, code === "aborted");
    error = Object.assign(interrupted, { code: code as ErrorCode });
  } else if (code !== undefined && name === "CogwheelError") {
    const [, room = "worker"] = /^\[(\w+)\] /.exec(message) ?? [];
    error = new CogwheelError(room, message, { ...options, code: code as ErrorCode });
  } else error = name === "AbortError" ? new DOMException(message, name) : Object.assign(new Error(message, options), { name });
  // As it was put together there: a rule that is shown twice would have two rooms, and an interruption another number of steps.
  if (!(error instanceof DOMException)) error.message = message;
  return error;
}
