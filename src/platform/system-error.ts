/** What the system says went wrong, in words. */

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

/** Whether an error came from a call of the system, such as opening a file. */
export function isSystemError(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && typeof (error as NodeJS.ErrnoException).syscall === "string" && typeof (error as NodeJS.ErrnoException).code === "string";
}
