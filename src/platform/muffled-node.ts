/** Dawn writes to standard error by itself; what says nothing to a user is taken out of it. */
import { spawn, spawnSync } from "node:child_process";
import {
  type BigIntStats,
  closeSync,
  constants,
  fstatSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmdirSync,
  rmSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isMainThread } from "node:worker_threads";

/** Two limits that no kernel comes near, told for every adapter. */
const IDLE = /^Warning: maxDynamic\w+BuffersPerPipelineLayout artificially reduced from .*\n/gm;

/** How long a process's end waits for the reader of its last lines. */
const DRAIN_MS = 1000;

/**
 * Does `work` while what is written to standard error goes to a file, then hands it on without those lines. Node has no `dup2`, but what is
 * opened next takes the lowest number that is free. So it is only done where standard error can be opened again as it was: on Linux, on a
 * terminal, a pipe, or a file that is appended to (`2>> log`). (A socket cannot be opened by name; another file would be opened with a
 * place of its own in it, and what shares it with standard output or a shell's next command would be written over.) Nor in a worker thread:
 * others open files meanwhile, one of which would take the number, and Node closes what a thread has opened when that ends.
 */
export async function muffled<T>(work: () => Promise<T>): Promise<T> {
  const folder = isMainThread && process.platform === "linux" && reopens() ? temporaryFolder() : undefined;
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

/**
 * Where standard error cannot be opened again as it was (a file that is written anew, a socket, what belongs to another user), makes it a
 * pipe, which can, to a `cat` that writes on where standard error was; so `muffled` works there as well. To be called by a process that is
 * ours throughout, before it writes anything. Its end waits for the `cat`: whoever reads the file then finds all of it.
 */
export function pipeStandardError(): void {
  if (process.platform !== "linux" || reopens() || !isOpen(2)) return;
  const folder = temporaryFolder();
  if (folder === undefined) return;
  const pipe = join(folder, "stderr");
  if (spawnSync("mkfifo", ["-m", "600", pipe], { stdio: "ignore" }).status !== 0) {
    rmdirSync(folder);
    return;
  }
  try {
    const both = openSync(pipe, "r+"); // never waits for the other end, and keeps the next two from doing so
    const end = openSync(pipe, "r");
    // In a session of its own it hears no Ctrl-C; it ends when nobody can write to it any more.
    const env = { PATH: process.env["PATH"] };
    const child = spawn("cat", [], { stdio: [end, 2, "ignore"], cwd: "/", env, detached: true });
    child.on("error", () => undefined).unref(); // then it has no id
    closeSync(end);
    if (child.pid !== undefined) {
      closeSync(2);
      openSync(pipe, "a"); // takes number 2
      atTheVeryEnd(() => awaitEnd(child.pid!));
    }
    closeSync(both);
  } finally {
    unlinkSync(pipe); // not rmSync, which asks what it is: see `statOf`
    rmdirSync(folder);
  }
}

/** Calls `last` at the process's end, after whoever asked for the same later and may still write. */
function atTheVeryEnd(last: () => void): void {
  process.on("exit", last);
  process.on("newListener", (event, listener) => {
    if (event === "exit" && listener !== last) queueMicrotask(() => process.off("exit", last).on("exit", last));
  });
}

/** Gives standard error up and waits until the child has written on what is in the pipe; not for long, if nobody reads that. */
function awaitEnd(pid: number): void {
  if (isOpen(2)) closeSync(2); // a script may have done so itself
  const cell = new Int32Array(new SharedArrayBuffer(4));
  for (const until = Date.now() + DRAIN_MS; Date.now() < until; Atomics.wait(cell, 0, 0, 1)) {
    try {
      // Nobody has asked yet how it ended, so its entry stays.
      if (/^\d+ \(cat\) [ZX]/.test(readFileSync(`/proc/${pid}/stat`, "latin1"))) return;
    } catch {
      return;
    }
  }
}

function reopens(): boolean {
  try {
    const kind = statOf(2);
    // Numbers below 2 that are free would be taken in its place.
    if (![0, 1].every(isOpen) || !(kind.isFIFO() || kind.isCharacterDevice() || (kind.isFile() && isAppended()))) return false;
    closeSync(openSync("/proc/self/fd/2", "a")); // a terminal or a pipe may belong to another user (su, sudo)
    return true;
  } catch {
    return false;
  }
}

/**
 * In big integers, which Node keeps by themselves: `realpathSync` looks at the other kind of its last answer, and takes a link for a folder
 * after one about a pipe or a socket (Node 20.20). Packages in a linked `node_modules`, as of pnpm, would be loaded twice.
 */
const statOf = (fd: number): BigIntStats => fstatSync(fd, { bigint: true });

function isOpen(fd: number): boolean {
  try {
    statOf(fd);
    return true;
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
