/**
 * A run of training that is killed (SIGKILL) and gone on with, again and again, at random moments and before chosen calls that change a
 * file. In the end it must have come to the bytes of the run that nothing killed: the checkpoint, which holds parameters, means, averages
 * and how far it is, and the adapter.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { runKilled, stateOf } from "../support/kill.ts";
import { expectEnded, killRuns } from "./kill-runs.ts";
import type { FuzzKind } from "./kind.ts";

const LAUNCHER = resolve("dist/launch.js");
/** Everything that a run keeps: micro-steps, packs of clips of two lengths, 8-bit means, an average, a schedule. */
const RUN = [
  ...["--resolution", "32x32", "--frames", "5", "--rank", "8", "--targets", "to_q,to_v,ff.net.2", "--steps", "12", "--lr", "1e-3"],
  ...["--budget", "120", "--accumulation", "2", "--bits", "8", "--ema", "0.9", "--schedule", "cosine", "--warmup", "2"],
  ...["--checkpoint-every", "1", "--null-text", "empty"],
];

const result = (folder: string): string =>
  ["checkpoint.safetensors", "pytorch_lora_weights.safetensors"].map((name) => stateOf(join(folder, name))).join();

function wrongWith(out: string, want: string): string | undefined {
  if (result(out) !== want) return "the run did not come to the bytes of one that was not killed";
  return existsSync(join(out, "run.lock")) ? "the lock is left behind" : undefined;
}

export const killsTrain: FuzzKind = {
  about: "runs of training killed and gone on with, to the bytes of one that is not",
  count: 20,
  async run(options, tally) {
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
      for (const name of ["first", "whole"]) expectEnded(await train(join(place, name)));
      const want = result(whole);
      if (result(join(place, "first")) !== want) throw new Error("two runs that nothing kills must come to the same bytes, got others");
      const runs = { place, killsARun: 5, moments: [0.3, 1] as const, start: train };
      await killRuns({ ...runs, wrong: (out) => wrongWith(out, want) }, options, tally);
    } finally {
      rmSync(place, { recursive: true, force: true });
    }
  },
};
