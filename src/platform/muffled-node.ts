/** Dawn writes to standard error by itself; what says nothing to a user is taken out of it. */
import { closeSync, constants, fstatSync, mkdtempSync, openSync, readFileSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Two limits that no kernel comes near, told for every adapter. */
const IDLE = /^Warning: maxDynamic\w+BuffersPerPipelineLayout artificially reduced from .*\n/gm;

/**
 * Does `work` while what is written to standard error goes to a file, then hands it on without those lines. Node has no `dup2`, but what is
 * opened next takes the lowest number that is free. So it is only done where standard error can be opened again as it was: on Linux, on a
 * terminal, a pipe, or a file that is appended to (`2>> log`). (A socket cannot be opened by name; another file would be opened with a
 * place of its own in it, and what shares it with standard output or a shell's next command would be written over.) Nor where other
 * threads open files meanwhile, one of which would take the number.
 */
export async function muffled<T>(work: () => Promise<T>): Promise<T> {
  const folder = process.platform === "linux" && reopens() ? temporaryFolder() : undefined;
  if (folder === undefined) return await work();
  const kept = openSync("/proc/self/fd/2", "a");
  const file = join(folder, "stderr");
  closeSync(2);
  openSync(file, "w"); // takes number 2
  try {
    return await work();
  } finally {
    closeSync(2);
    openSync(`/proc/self/fd/${kept}`, "a");
    closeSync(kept);
    const rest = readFileSync(file, "utf8").replace(IDLE, "");
    rmSync(folder, { recursive: true, force: true });
    if (rest) writeSync(2, rest);
  }
}

function reopens(): boolean {
  try {
    const kind = fstatSync(2);
    // Numbers below 2 that are free would be taken in its place.
    return [0, 1].every((fd) => fstatSync(fd)) && (kind.isFIFO() || kind.isCharacterDevice() || (kind.isFile() && isAppended()));
  } catch {
    return false;
  }
}

/** Whatever is written goes to the file's end, wherever it was opened. */
function isAppended(): boolean {
  const [, flags = "0"] = /^flags:\s*(\d+)/m.exec(readFileSync("/proc/self/fdinfo/2", "utf8")) ?? [];
  return (Number.parseInt(flags, 8) & constants.O_APPEND) !== 0;
}

function temporaryFolder(): string | undefined {
  try {
    return mkdtempSync(join(tmpdir(), "cogwheel-stderr-"));
  } catch {
    return undefined;
  }
}
