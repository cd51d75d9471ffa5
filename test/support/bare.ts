/**
 * Scripts in a Node of their own, where nothing of a test runner keeps the event loop alive. They run on the Node that runs the tests,
 * and on those that COGWHEEL_NODES names (paths, with the system's delimiter between them).
 */
import { execFileSync, spawn, spawnSync, type ChildProcess } from "node:child_process";
import { delimiter, join } from "node:path";
import { pathToFileURL } from "node:url";

export const NODES: readonly string[] = [process.execPath, ...(process.env["COGWHEEL_NODES"]?.split(delimiter).filter(Boolean) ?? [])];

const PACKAGE = pathToFileURL(join(import.meta.dirname, "../../dist/node.js")).href;

export interface Ended {
  code: number | null;
  signal: NodeJS.Signals | null;
  out: string;
  err: string;
  /** Milliseconds from the last output to the end. */
  lingered: number;
}

/** Starts a module with everything of the package in scope as `cogwheel`, and `args` as `args`. */
export function startBare(
  body: string,
  args: readonly unknown[] = [],
  node: string = process.execPath,
): { child: ChildProcess; ended: Promise<Ended> } {
  const script = `const cogwheel = await import(${JSON.stringify(PACKAGE)}); const args = ${JSON.stringify(args)};\n${body}`;
  const child = spawn(node, ["--input-type=module", "-e", script], { stdio: ["ignore", "pipe", "pipe"] });
  let [out, err, last] = ["", "", performance.now()];
  child.stdout.on("data", (chunk: Buffer) => {
    out += chunk.toString();
    last = performance.now();
  });
  child.stderr.on("data", (chunk: Buffer) => (err += chunk.toString()));
  const ended = new Promise<Ended>((resolve) =>
    child.on("close", (code, signal) => resolve({ code, signal, out, err, lingered: performance.now() - last })),
  );
  return { child, ended };
}

/** The readers of media that a process has started and that still run. */
export function readersOf(pid: number): number[] {
  return execFileSync("ps", ["-A", "-o", "pid=,ppid=,stat=,args="], { encoding: "utf8" })
    .split("\n")
    .map((line) => line.trim().split(/\s+/))
    .filter(
      ([, parent, state, ...args]) =>
        Number(parent) === pid && !state!.startsWith("Z") && args.some((arg) => arg.endsWith("cogwheel-media.js")),
    )
    .map(([child]) => Number(child));
}

/** Whether a process runs; one that ended and that nobody has asked for its end does not. */
export function isAlive(pid: number): boolean {
  const { stdout } = spawnSync("ps", ["-p", String(pid), "-o", "stat="], { encoding: "utf8" });
  return stdout.trim() !== "" && !stdout.trim().startsWith("Z");
}
