/** What went wrong in a queue's folder. */
import { CogwheelError } from "../base/errors.ts";
import { systemWords } from "../platform/system-error.ts";
import { QueueUnusable } from "./backend.ts";

export const code = (error: unknown): string | undefined => (error as NodeJS.ErrnoException).code;
const isFull = (error: unknown): boolean => ["ENOSPC", "EDQUOT", "EFBIG"].includes(code(error) ?? "");
export const isMissing = (error: unknown): undefined => {
  if (code(error) === "ENOENT") return undefined;
  throw error;
};

/** The error of a disk that does not do what it must. */
export const unusable = (root: string, error: unknown): CogwheelError =>
  error instanceof CogwheelError
    ? error
    : new QueueUnusable(
        `the queue's folder must be one that files can be written in and linked, got ${systemWords(error)} in ${root}; ` +
          `${isFull(error) ? "make room, or " : ""}choose another --queue, on a local disk`,
        { cause: error },
      );
