/** Processes that are killed while they write, and what they leave. */
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join, resolve } from "node:path";

export const KILL_AT = resolve("test/support/kill-at.mjs");

export interface Killed {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly text: string;
  readonly ms: number;
}

export interface KillOptions {
  readonly cwd?: string;
  /** Before the Nth call that changes a file below `folder`. */
  readonly at?: { readonly call: number; readonly folder: string };
  /** After so many milliseconds. */
  readonly after?: number;
  /** A run that takes longer hangs; it is ended, and `signal` is SIGTERM's. */
  readonly limit?: number;
  readonly env?: Record<string, string>;
}

/** Runs Node, and kills it as told. */
export function runKilled(args: readonly string[], { cwd, at, after, limit = 120_000, env = {} }: KillOptions = {}): Promise<Killed> {
  const begun = performance.now();
  const own = at ? { KILL_AT: String(at.call), KILL_IN: at.folder } : {};
  const child = spawn(process.execPath, [...(at ? ["--import", KILL_AT] : []), ...args], {
    ...(cwd ? { cwd } : {}),
    env: { ...process.env, NO_COLOR: undefined, FORCE_COLOR: undefined, ...env, ...own },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let text = "";
  for (const stream of [child.stdout, child.stderr])
    stream.on("data", (part: Buffer) => {
      text += part.toString();
    });
  const timers = [
    setTimeout(() => child.kill("SIGTERM"), limit),
    ...(after === undefined ? [] : [setTimeout(() => child.kill("SIGKILL"), after)]),
  ];
  return new Promise((done) =>
    child.on("close", (code, signal) => {
      for (const timer of timers) clearTimeout(timer);
      done({ code, signal, text, ms: performance.now() - begun });
    }),
  );
}

/** What is at a path: a digest of a file, or of the names and contents of a folder's files; "" if nothing is there. */
export function stateOf(path: string): string {
  const hash = createHash("sha256");
  try {
    if (!statSync(path).isDirectory()) return hash.update(readFileSync(path)).digest("hex");
  } catch {
    return "";
  }
  for (const name of readdirSync(path, { recursive: true }).map(String).sort()) {
    hash.update(`${name}\0`);
    if (statSync(join(path, name)).isFile()) hash.update(readFileSync(join(path, name)));
  }
  return hash.digest("hex");
}
