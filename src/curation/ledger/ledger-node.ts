/** The ledger's lines in a file: added at its end, and on the disk before anybody is told that they are there. */
import { mkdir, open, readFile, truncate } from "node:fs/promises";
import { dirname } from "node:path";
import { CogwheelError } from "../../base/errors.ts";
import { systemWords } from "../../platform/system-error.ts";
import type { LedgerStore } from "./ledger.ts";

/** One process at a time may have it open. */
export function fileLedgerStore(path: string): LedgerStore {
  const failed = (what: string, error: unknown): CogwheelError =>
    new CogwheelError("ledger", `${path} must be ${what}, got ${systemWords(error)}; make room, or choose another folder`, {
      cause: error,
    });
  return {
    async read() {
      const bytes = await readFile(path).catch((error: NodeJS.ErrnoException) => {
        if (error.code === "ENOENT") return Buffer.alloc(0);
        throw failed("readable", error);
      });
      const whole = bytes.lastIndexOf(10) + 1;
      return bytes.toString("utf8", 0, whole);
    },
    async append(lines) {
      try {
        await mkdir(dirname(path), { recursive: true });
        const file = await open(path, "a+");
        try {
          // What a process that was killed left of a line would be the beginning of this one.
          const { size } = await file.stat();
          const whole = await endOfLines(file, size);
          if (whole < size) await truncate(path, whole);
          await file.appendFile(lines);
          await file.sync();
        } finally {
          await file.close();
        }
      } catch (error) {
        throw failed("writable", error);
      }
    },
  };
}

/** Where the last whole line of a file ends. */
async function endOfLines(file: import("node:fs/promises").FileHandle, size: number): Promise<number> {
  const part = Buffer.alloc(65_536);
  for (let end = size; end > 0; ) {
    const from = Math.max(0, end - part.length);
    const { bytesRead } = await file.read(part, 0, end - from, from);
    const at = part.subarray(0, bytesRead).lastIndexOf(10);
    if (at >= 0) return from + at + 1;
    end = from;
  }
  return 0;
}
