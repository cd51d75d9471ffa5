/** The command line as a user has it: the built command in a process of its own, in a folder that goes with the test. */
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, expect } from "vitest";
import { type Ended, type Watch, watched } from "./watched.ts";

export const LAUNCHER = resolve(import.meta.dirname, "../../dist/launch.js");

export interface CommandPlace {
  /** Where it runs. */
  readonly folder: string;
  /** @param env variables beside this process's own, but for those of colours; undefined takes one away @param watch sees its output as it comes */
  run(args: readonly string[], env?: NodeJS.ProcessEnv, watch?: Watch): Promise<Ended>;
}

/** Builds it for the tests of a file. */
export function useCommand(): CommandPlace {
  const folder = mkdtempSync(join(tmpdir(), "cogwheel-cli-"));
  beforeAll(() => {
    const built = spawnSync(process.execPath, ["build.mjs", "--if-stale"], { encoding: "utf8" });
    expect(built.status, built.stderr).toBe(0);
  }, 60_000);
  afterAll(() => rm(folder, { recursive: true, force: true }));
  return {
    folder,
    run(args, env = {}, watch) {
      const all = { ...process.env, NO_COLOR: undefined, FORCE_COLOR: undefined, ...env };
      return watched(spawn(process.execPath, [LAUNCHER, ...args], { cwd: folder, env: all }), watch);
    },
  };
}
