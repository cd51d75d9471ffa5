/**
 * Standard output and standard error of a command. Either may be a pipe that nobody reads any more (`| head -1`), a terminal that was
 * closed, or a file on a full disk; a run of hours is not lost for it: what cannot be written is dropped.
 */
import { closeSync, openSync } from "node:fs";
import { constants } from "node:os";
import { systemWords } from "../../platform/system-error.ts";
import { visible, visibleJson, visibleLines } from "../../base/visible.ts";
import { asCalled } from "./called.ts";

/** Why standard output takes nothing any more. */
let failure: NodeJS.ErrnoException | undefined;
/** The terminal was closed. */
let hungUp = false;
/** Its reader, or its terminal, is gone. */
const GONE = new Set(["EPIPE", "EIO", "ECONNRESET", "ERR_STREAM_DESTROYED", "EOF"]);

/** Keeps errors of the two streams from ending the process; to be called once, before anything is written. */
export function guardOutput(): void {
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    hungUp ||= error.code === "EIO";
    if (failure) return;
    failure = error;
    if (!GONE.has(error.code ?? ""))
      process.stderr.write(
        `[output] standard output must take what is printed, got ${systemWords(error)}; ` +
          `the rest of it is dropped, files are written all the same\n`,
      );
  });
  // There is no place left where it could be said.
  process.stderr.on("error", (error: NodeJS.ErrnoException) => {
    hungUp ||= error.code === "EIO";
  });
}

/** Ends the process. */
export function leave(code: number): never {
  // Node 20 puts terminals back as they were when it ends, and dies of one that is no more (SIGSEGV in place of the exit code).
  if (hungUp && process.platform !== "win32") {
    for (const fd of [0, 1, 2]) {
      try {
        closeSync(fd);
      } catch {
        // It was closed.
      }
    }
    for (let fd = 0; fd < 3; fd++) openSync("/dev/null", "r+");
  }
  process.exit(code);
}

/**
 * The exit code of a command that came to `code`. Where its result is what it prints, an end without a reader is told as the system
 * tells it of others (141, as if SIGPIPE had ended it); text that a full disk did not take is a failure in any case.
 */
export function codeAfterOutput(code: number, printsResult: boolean): number {
  if (!failure || code !== 0) return code;
  if (!GONE.has(failure.code ?? "")) return 1;
  return printsResult ? 128 + (constants.signals.SIGPIPE ?? 13) : 0;
}

/** Writes to standard output, as a terminal may show it; commands in it as the user can type them. */
export function writeOut(text: string): void {
  writeExactly(asCalled(text));
}

function writeExactly(text: string): void {
  if (!failure) process.stdout.write(visibleLines(text));
}

/** Writes lines to standard output. */
export function print(text: string): void {
  writeOut(`${text}\n`);
}

/** Writes a value as JSON to standard output. @param lines over several lines, for people too; else on one */
export function printJson(value: unknown, { lines = true } = {}): void {
  writeExactly(`${visibleJson(value, lines ? 2 : undefined)}\n`);
}

/** Writes lines to standard error, as a terminal may show them; commands in them as the user can type them. */
export function complain(text: string): void {
  // Which part of the engine complains helps a report, not its reader.
  const plain = visibleLines(asCalled(text));
  const shown = process.stderr.isTTY && process.stderr.hasColors() ? plain.replace(/^\[[\w-]+\]/gm, "\x1b[2m$&\x1b[22m") : plain;
  process.stderr.write(`${shown}\n`);
}

/** Writes bytes to standard output, as they are; resolves when the system has them, or nobody takes them any more. */
export async function writeBytes(bytes: Uint8Array): Promise<void> {
  if (!failure) await new Promise<void>((written) => process.stdout.write(bytes, () => written()));
}

/** Writes a path on a line of its own. */
export function printPath(path: string): void {
  writeExactly(`${visible(path)}\n`);
}

/** Resolves when what was written is with the system, or will never be: a pipe takes it only as fast as it is read. */
export async function drained(): Promise<void> {
  for (const stream of [process.stdout, process.stderr]) await new Promise<void>((written) => stream.write("", () => written()));
}
