/** What the system says went wrong, in words. */
import { CogwheelError } from "../base/errors.ts";

const WORDS: Readonly<Record<string, string>> = {
  EACCES: "no permission",
  EBUSY: "it is in use",
  EDQUOT: "the user's share of the disk is used up",
  EFBIG: "a file so large is not allowed there",
  EIO: "the device failed",
  EISDIR: "a folder",
  ELOOP: "links that lead in a circle",
  EMFILE: "more open files than this process may have (see `ulimit -n`)",
  ENAMETOOLONG: "a name that is too long",
  ENFILE: "more open files than this system may have",
  ENOENT: "no such file",
  ENOSPC: "no space left on the disk",
  ENOTDIR: "a file where a folder must be",
  EPERM: "no permission",
  EROFS: "a file system that can only be read",
  ETXTBSY: "it is in use",
};

/** `ENOSPC: no space left on the disk`; of an error that is none of the system's, its message. */
export function systemWords(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  const words = code === undefined ? undefined : WORDS[code];
  return words === undefined ? message : `${code}: ${words}`;
}

const REMEDIES: Readonly<Record<string, string>> = {
  EMFILE: "raise the limit with `ulimit -n 1024`",
  ENFILE: "end other programs",
  ENOSPC: "make room",
  EDQUOT: "make room",
};

/** What a command says of a call to the system that failed where nobody had words for it; undefined for other errors. */
export function systemComplaint(error: unknown): string | undefined {
  const { syscall, code, path } = error as NodeJS.ErrnoException;
  if (!(error instanceof Error) || typeof syscall !== "string" || typeof code !== "string") return undefined;
  if (syscall === "uv_cwd")
    return new CogwheelError("system", "the folder that a command is run in must exist, got one that was removed; change to another")
      .message;
  return new CogwheelError(
    "system",
    `${syscall}${path === undefined ? "" : ` of ${path}`} must be possible, got ${systemWords(error)}; ` +
      `${REMEDIES[code] ?? "check that it is there and may be used"}`,
  ).message;
}
