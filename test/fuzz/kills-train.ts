/**
 * A run of training that is killed (SIGKILL) and gone on with, again and again, at random moments and before chosen calls that change a
 * file. In the end it must have come to the bytes of the run that nothing killed: the checkpoint, which holds parameters, means, averages
 * and how far it is, and the adapter.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { runKilled, stateOf } from "../support/kill.ts";
import { inputs, type FuzzKind } from "./kind.ts";

const LAUNCHER = resolve("dist/launch.js");
/** Everything that a run keeps: micro-steps, packs of clips of two lengths, 8-bit means, an average, a schedule. */
const RUN = [
  ...["--resolution", "32x32", "--frames", "5", "--rank", "8", "--targets", "to_q,to_v,ff.net.2", "--steps", "12", "--lr", "1e-3"],
  ...["--budget", "120", "--accumulation", "2", "--bits", "8", "--ema", "0.9", "--schedule", "cosine", "--warmup", "2"],
  ...["--checkpoint-every", "1", "--null-text", "empty"],
];
/** Kills of one run, after which it may end. */
const KILLS_A_RUN = 5;
/** One of so many is killed before a chosen call, the others at a random moment. */
const CHOSEN = 3;

const result = (folder: string): string =>
  ["checkpoint.safetensors", "pytorch_lora_weights.safetensors"].map((name) => stateOf(join(folder, name))).join();

export const killsTrain: FuzzKind = {
  about: "runs of training killed and gone on with, to the bytes of one that is not",
  count: 20,
  async run({ log, ...options }, tally) {
    const place = realpathSync(mkdtempSync(join(tmpdir(), "cogwheel-kills-train-")));
    const env: Record<string, string> = options.adapter ? { COGWHEEL_ADAPTER: options.adapter } : {};
    const train = (out: string, when: Parameters<typeof runKilled>[1] = {}) =>
      runKilled([LAUNCHER, "train", "--data", join(place, "clips"), "--cache", join(place, "cache"), "--out", out, ...RUN], {
        cwd: place,
        ...when,
        env: { ...env, ...when.env },
      });
    try {
      const clips = ["dist/draw-clips.js", join(place, "clips"), "--clips", "6", "--frames", "5", "--size", "32"];
      const drawn = spawnSync(process.execPath, clips, { encoding: "utf8" });
      if (drawn.status !== 0) throw new Error(`clips must be drawn, got exit code ${drawn.status}: ${drawn.stderr}`);
      // The first run encodes; how long a second one takes, and how often it changes a file, is that of those that are killed.
      const whole = join(place, "whole");
      for (const name of ["first", "whole"]) {
        const made = await train(join(place, name));
        if (made.code !== 0)
          throw new Error(`a run must succeed when nothing kills it, got exit code ${made.code}: ${made.text.slice(-800)}`);
      }
      const want = result(whole);
      if (result(join(place, "first")) !== want) throw new Error("two runs that nothing kills must come to the same bytes, got others");
      const counted = join(place, "counted");
      mkdirSync(counted);
      const { ms } = await train(counted, { env: { KILL_COUNT: join(place, "calls") }, at: { call: 0, folder: counted } });
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
            : { after: Math.round(ms * left * (0.3 + 0.7 * draw())) };
        const input =
          `seed ${options.seed}, index ${index} (${seed}): ` +
          `killed ${"after" in when ? `after ${when.after} of ${Math.round(ms)} ms` : `before call ${when.at.call} of ${calls}`}`;
        const ended = await train(out, when);
        if (ended.signal === "SIGKILL") killed++;
        if (ended.signal !== "SIGKILL" && ended.code !== 0) {
          tally.add(ended.signal ? "hang" : "foreign error", input, ended.text.slice(-800));
          continue;
        }
        if (i % KILLS_A_RUN < KILLS_A_RUN - 1 && i < all.length - 1) {
          tally.add("read", input);
          continue;
        }
        const last = await train(out);
        if (last.code !== 0) tally.add(last.signal ? "hang" : "death", input, `the last run: ${last.text.slice(-800)}`);
        else if (result(out) !== want) tally.add("silent wrong", input, "the run did not come to the bytes of one that was not killed");
        else if (existsSync(join(out, "run.lock"))) tally.add("silent wrong", input, "the lock is left behind");
        else tally.add("read", input);
        rmSync(out, { recursive: true, force: true });
      }
      log(`${killed} of ${all.length} were killed before their end`);
    } finally {
      rmSync(place, { recursive: true, force: true });
    }
  },
};
