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
import { inputs, type FuzzKind } from "./kind.ts";

const LAUNCHER = resolve("dist/launch.js");
/** Kills of one run, after which it may end. */
const KILLS_A_RUN = 3;
/** One of so many is killed before a chosen call, the others at a random moment. */
const CHOSEN = 3;

const result = (folder: string): string => ["metadata.jsonl", "videos", "report.html"].map((name) => stateOf(join(folder, name))).join();

/** Names of files that a run left half done; a lock that nobody holds any more is swept later. */
function leftovers(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((name) => /\.part$/.test(name));
}

export const killsData: FuzzKind = {
  about: "curations of raw videos killed and gone on with, to the data set of one that is not",
  count: 75,
  async run({ log, ...options }, tally) {
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
      const made = await curate(whole);
      if (made.code !== 0) throw new Error(`a run must succeed when nothing kills it, got ${made.code}: ${made.text.slice(-800)}`);
      const want = result(whole);
      const how = readFileSync(join(whole, "metadata.jsonl"), "utf8").match(/"how":"\w+"/g) ?? [];
      if (new Set(how).size !== 2) throw new Error(`clips must be copied and encoded, got ${how.join()}`);
      const counted = join(place, "counted");
      mkdirSync(counted);
      const { ms } = await curate(counted, { env: { KILL_COUNT: join(place, "calls") }, at: { call: 0, folder: counted } });
      const calls = Number(readFileSync(join(place, "calls"), "utf8").trim().split("\n").at(-1));

      let out = "";
      let killed = 0;
      const all = [...inputs(options)];
      for (const [i, { index, seed, draw }] of all.entries()) {
        if (i % KILLS_A_RUN === 0) {
          out = join(place, `run-${index}`);
          mkdirSync(out);
        }
        // What is left of a run is shorter each time.
        const left = 1 - (i % KILLS_A_RUN) / (KILLS_A_RUN + 2);
        const when =
          index % CHOSEN === CHOSEN - 1
            ? { at: { call: 1 + Math.floor(draw() * calls * left), folder: out } }
            : { after: Math.round(ms * left * (0.15 + 0.6 * draw())) };
        const input =
          `seed ${options.seed}, index ${index} (${seed}): ` +
          `killed ${"after" in when ? `after ${when.after} of ${Math.round(ms)} ms` : `before call ${when.at.call} of ${calls}`}`;
        const ended = await curate(out, when);
        if (ended.signal === "SIGKILL") killed++;
        else if (ended.code !== 0) {
          tally.add(ended.signal ? "hang" : "foreign error", input, ended.text.slice(-800));
          continue;
        }
        if (i % KILLS_A_RUN < KILLS_A_RUN - 1 && i < all.length - 1) {
          tally.add("read", input);
          continue;
        }
        const last = await curate(out);
        if (last.code !== 0) tally.add(last.signal ? "hang" : "death", input, `the last run: ${last.text.slice(-800)}`);
        else if (result(out) !== want) tally.add("silent wrong", input, "the data set is not that of a run that was not killed");
        else if (existsSync(join(out, ".curation/lock"))) tally.add("silent wrong", input, "the lock is left behind");
        else if (leftovers(out).length) tally.add("silent wrong", input, `left behind: ${leftovers(out).join(", ")}`);
        else tally.add("read", input);
        rmSync(out, { recursive: true, force: true });
      }
      log(`${killed} of ${all.length} were killed before their end`);
    } finally {
      clearInterval(held);
      rmSync(place, { recursive: true, force: true });
    }
  },
};
