/** What a command ends with, for scripts: they need not read what went wrong. README's table says the same. */
import { CommanderError } from "commander";
import { CogwheelError, type ErrorCode } from "../base/errors.ts";
import { Interrupted } from "./terminal/interrupt.ts";

const CODES: Readonly<Partial<Record<ErrorCode, number>>> = {
  "invalid-request": 2,
  model: 3,
  hub: 3,
  "out-of-memory": 4,
  device: 5,
};

/** The exit code of what a command threw; of several errors the first one counts. */
export function exitCodeOf(error: unknown): number {
  if (error instanceof AggregateError) return exitCodeOf(error.errors[0]);
  if (error instanceof Interrupted) return error.exitCode;
  if (error instanceof CommanderError) return error.exitCode && 2; // help and version end by one too, with 0
  return (error instanceof CogwheelError ? CODES[error.code] : undefined) ?? 1;
}
