/** `cogwheel data` as a user has it, in a folder of drawn films: `raw/NAME.mp4`, 12 frames a second. */
import { spawn, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, expect } from "vitest";
import { encodeVideo } from "../../src/video/encode.ts";
import { drawnFilm } from "./shots.ts";
import { type Ended, watched } from "./watched.ts";

export interface DataCommand {
  readonly folder: string;
  run(args: readonly string[], env?: NodeJS.ProcessEnv): Promise<Ended>;
  /** Of the data set that {@link SHAPE} names. */
  rows(): any[];
}

/** From the films to a data set of clips of 17 frames. */
export const SHAPE = ["raw", "--out", "set", "--frames", "17"];

/** Draws the films for the tests of a file. @param films the seeds of their shots, each of 36 frames */
export function useDataCommand(films: Readonly<Record<string, readonly number[]>>): DataCommand {
  const folder = mkdtempSync(join(tmpdir(), "cogwheel-data-"));
  beforeAll(async () => {
    const built = spawnSync(process.execPath, ["build.mjs", "--if-stale"], { encoding: "utf8" });
    expect(built.status, built.stderr).toBe(0);
    mkdirSync(join(folder, "raw"));
    for (const [name, seeds] of Object.entries(films)) {
      const { frames } = drawnFilm(
        seeds.map((seed) => ({ seed, frames: 36 })),
        { width: 96, height: 64 },
      );
      await encodeVideo(frames, { path: join(folder, `raw/${name}.mp4`), fps: 12 });
    }
  }, 60_000);
  afterAll(() => rm(folder, { recursive: true, force: true }));
  const launcher = resolve("dist/launch.js");
  return {
    folder,
    run: (args, env = {}) =>
      watched(spawn(process.execPath, [launcher, "data", ...args], { cwd: folder, env: { ...process.env, ...env } })),
    rows: () =>
      readFileSync(join(folder, "set/metadata.jsonl"), "utf8")
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line)),
  };
}
