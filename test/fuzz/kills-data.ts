/**
 * A curation that is killed (SIGKILL) and gone on with, again and again, at random moments and before chosen calls that change a file. In
 * the end its data set must be that of the run that nothing killed, byte for byte: metadata, clips that were copied and clips that were
 * encoded anew, and the report.
 */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { encodeVideo } from "../../src/video/encode.ts";
import { runKilled, stateOf } from "../support/kill.ts";
import { drawnFilm } from "../support/shots.ts";
import { expectEnded, killRuns } from "./kill-runs.ts";
import type { FuzzKind } from "./kind.ts";

const LAUNCHER = resolve("dist/launch.js");
const result = (folder: string): string => ["metadata.jsonl", "videos", "report.html"].map((name) => stateOf(join(folder, name))).join();

/** Names of files that a run left half done; a lock that nobody holds any more is swept later. */
function leftovers(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((name) => /\.part$/.test(name));
}

function wrongWith(out: string, want: string): string | undefined {
  if (result(out) !== want) return "the data set is not that of a run that was not killed";
  if (existsSync(join(out, ".curation/lock"))) return "the lock is left behind";
  return leftovers(out).length ? `left behind: ${leftovers(out).join(", ")}` : undefined;
}

export const killsData: FuzzKind = {
  about: "curations of raw videos killed and gone on with, to the data set of one that is not",
  count: 75,
  async run(options, tally) {
    const place = realpathSync(mkdtempSync(join(tmpdir(), "cogwheel-kills-data-")));
    const raw = join(place, "raw");
    const curate = (out: string, when: Parameters<typeof runKilled>[1] = {}) =>
      runKilled([LAUNCHER, "data", "run", raw, "--out", out, "--frames", "17", "--where", "motion >= 0"], { cwd: place, ...when });
    // The codec does not hold Node's event loop.
    const held = setInterval(() => {}, 2 ** 30);
    try {
      mkdirSync(raw);
      for (const [i, name] of ["one.mp4", "two.webm", "three.mp4", "four.mp4"].entries()) {
        const shots = [1, 2, 3].map((seed) => ({ seed: 10 * i + seed, frames: 30 + 7 * seed }));
        await encodeVideo(drawnFilm(shots, { width: 96, height: 64 }).frames, { path: join(raw, name), fps: 12 });
      }
      const whole = join(place, "whole");
      expectEnded(await curate(whole));
      const want = result(whole);
      const how = readFileSync(join(whole, "metadata.jsonl"), "utf8").match(/"how":"\w+"/g) ?? [];
      if (new Set(how).size !== 2) throw new Error(`clips must be copied and encoded, got ${how.join()}`);
      const runs = { place, killsARun: 3, moments: [0.15, 0.75] as const, start: curate };
      await killRuns({ ...runs, wrong: (out) => wrongWith(out, want) }, options, tally);
    } finally {
      clearInterval(held);
      rmSync(place, { recursive: true, force: true });
    }
  },
};
