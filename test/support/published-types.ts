/** The package's types, made once a run: two processes take the files, and what one of them writes the other may be reading. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { runFolder } from "./built.ts";

const ROOT = join(import.meta.dirname, "../..");

/** What tsc says of the project; empty where it finds nothing wrong. */
export function tsc(...args: string[]): string {
  try {
    return execFileSync(process.execPath, ["node_modules/typescript/bin/tsc", ...args], { cwd: ROOT, encoding: "utf8" });
  } catch (error) {
    return String((error as { stdout?: string }).stdout).slice(0, 2000) || String(error);
  }
}

/** Makes dist/types, or waits until the other process has. @returns what tsc said of it */
export async function publishedTypes(): Promise<string> {
  const said = join(runFolder(), "types");
  for (; !existsSync(said); await sleep(100)) {
    try {
      mkdirSync(`${said}-are-made`);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
      continue; // the other process makes them
    }
    writeFileSync(`${said}-new`, tsc("-p", "tsconfig.types.json"));
    renameSync(`${said}-new`, said);
  }
  return readFileSync(said, "utf8");
}
