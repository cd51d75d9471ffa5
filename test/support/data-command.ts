/** `cogwheel data` as a user has it, in a folder of drawn films: `raw/NAME.mp4`, 12 frames a second. */
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll } from "vitest";
import { encodeVideo } from "../../src/video/encode.ts";
import { type CommandPlace, useCommand } from "./command.ts";
import { drawnFilm } from "./shots.ts";

export interface DataPlace extends CommandPlace {
  /** Of the data set that {@link SHAPE} names. */
  rows(): any[];
}

/** From the films to a data set of clips of 17 frames. */
export const SHAPE = ["raw", "--out", "set", "--frames", "17"];

/** Draws the films for the tests of a file. @param films the seeds of their shots, each of 36 frames */
export function useDataCommand(films: Readonly<Record<string, readonly number[]>>): DataPlace {
  const { folder, run } = useCommand();
  beforeAll(async () => {
    mkdirSync(join(folder, "raw"));
    for (const [name, seeds] of Object.entries(films)) {
      const { frames } = drawnFilm(
        seeds.map((seed) => ({ seed, frames: 36 })),
        { width: 96, height: 64 },
      );
      await encodeVideo(frames, { path: join(folder, `raw/${name}.mp4`), fps: 12 });
    }
  }, 60_000);
  return {
    folder,
    run: (args, env, watch) => run(["data", ...args], env, watch),
    rows: () =>
      readFileSync(join(folder, "set/metadata.jsonl"), "utf8")
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line)),
  };
}
