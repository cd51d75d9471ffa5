/** A run that keeps what prior clips show, as a user has it: killed, planned, reported, refused. */
import { spawn, spawnSync } from "node:child_process";
import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { LoggedStep } from "../../src/cli/train/run-folder.ts";
import { runKilled, stateOf } from "../support/kill.ts";
import { removeTinyCheckpoints, tinyCheckpoint } from "../support/tiny-checkpoint.ts";
import { type Ended, watched } from "../support/watched.ts";

const launcher = resolve("dist/launch.js");
let folder: string;
let common: readonly string[];

beforeAll(async () => {
  expect(spawnSync(process.execPath, ["build.mjs", "--if-stale"]).status).toBe(0);
  folder = await mkdtemp(join(tmpdir(), "cogwheel-prior-"));
  for (const [i, name] of ["clips", "known"].entries()) {
    const size = ["--clips", "3", "--frames", "1", "--size", "32", "--seed", String(i)];
    const drawn = spawnSync(process.execPath, ["dist/draw-clips.js", join(folder, name), ...size]);
    expect(drawn.status, String(drawn.stderr)).toBe(0);
  }
  const data = ["--data", "clips", "--prior", "known", "--cache", "cache", "--resolution", "32x32", "--frames", "1"];
  common = ["--model", await tinyCheckpoint(), ...data, "--checkpoint-every", "1"];
}, 120_000);
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
  await removeTinyCheckpoints();
});

const train = (args: readonly string[]): Promise<Ended> =>
  watched(
    spawn(process.execPath, [launcher, "train", ...args], {
      cwd: folder,
      env: { ...process.env, NO_COLOR: undefined, FORCE_COLOR: undefined, COGWHEEL_TUNING: "off" },
    }),
  );
const result = (out: string): string[] =>
  ["checkpoint.safetensors", "pytorch_lora_weights.safetensors"].map((name) => stateOf(join(folder, out, name)));

it("is logged and reported, and comes to the same bytes when it is killed", async () => {
  const args = [...common, "--rank", "4", "--steps", "6", "--batch", "2", "--lr", "1e-2"];
  const whole = await train([...args, "--out", "whole"]);
  expect(whole.code, whole.err).toBe(0);
  expect(whole.out).toMatch(/3 clips of .*clips; to keep what 3 clips of .*known show/);
  expect(whole.out).toMatch(/loss of prior clips in them \S+/);
  const log = (await readFile(join(folder, "whole/log.jsonl"), "utf8")).trimEnd().split("\n");
  const steps = log.map((line) => JSON.parse(line) as LoggedStep);
  expect(steps.map(({ clips }) => clips.map(({ prior }) => prior ?? false))).toEqual(Array.from({ length: 6 }, () => [false, true]));
  // The adapter is nothing yet.
  expect(steps[0]!.clips[1]!.loss).toBeLessThan(1e-6);
  expect(steps[5]!.clips[1]!.loss).toBeGreaterThan(steps[0]!.clips[1]!.loss);
  const report = await readFile(join(folder, "whole/report.html"), "utf8");
  expect(report).toContain("loss of prior clips");
  expect(report).toMatch(/3 prior ones of .*known/);

  const out = join(folder, "killed");
  for (const call of [10, 26]) await runKilled([launcher, "train", ...args, "--out", out], { at: { call, folder: out }, cwd: folder });
  expect((await train([...args, "--out", "killed"])).code).toBe(0);
  expect(result("killed")).toEqual(result("whole"));
  const other = await train([...args, "--out", "killed", "--prior-target", "clips"]);
  expect(other.err).toMatch(/another prior\.target \("model" then, "clips" now\)/);
  const clips = await train([...args, "--out", "killed", "--prior", "clips"]);
  expect(clips.err).toMatch(/another priorData/);
}, 240_000);

it("is of clips that the model makes itself, those of them that are not there", async () => {
  const prompts = ["a red circle", "  ", "a blue square on black"];
  await writeFile(join(folder, "prompts.txt"), prompts.join("\n"));
  const args = [
    ...common,
    "--rank",
    "4",
    "--steps",
    "2",
    "--batch",
    "2",
    "--out",
    "made",
    "--prior",
    "own",
    "--prior-prompts",
    "prompts.txt",
  ];
  const first = await train(args);
  expect(first.code, first.err).toBe(0);
  expect(first.out).toMatch(/to keep what 2 clips of .*own show/);
  const lines = (await readFile(join(folder, "own/metadata.jsonl"), "utf8")).trimEnd().split("\n");
  expect(lines.map((line) => (JSON.parse(line) as { text: string }).text)).toEqual(["a red circle", "a blue square on black"]);
  const film = (n: number): string => join(folder, `own/videos/prior-0000${n}.mp4`);
  const [kept, gone] = [await stat(film(1)), await readFile(film(2))];
  await rm(film(2));
  const again = await train(args);
  expect(again.err).toContain("Going on after step 2 of 2.");
  expect((await stat(film(1))).mtimeMs).toBe(kept.mtimeMs);
  expect((await readFile(film(2))).equals(gone)).toBe(true);
  await writeFile(join(folder, "prompts.txt"), "a star");
  expect((await train([...args, "--fresh"])).err).toMatch(/metadata\.jsonl is of other clips than those of .*prompts\.txt/);
  await writeFile(join(folder, "prompts.txt"), "\n");
  expect((await train(args)).err).toMatch(/a file of 1 to 10000 prompts, one a line, got 0/);
}, 240_000);

it("is planned, with the forward pass that it takes more", async () => {
  const planned = async (...args: string[]) => {
    const { code, out, err } = await train([...common, "--out", "planned", "--batch", "4", "--plan", "--json", ...args]);
    expect(code, err).toBe(0);
    return JSON.parse(out) as { flops: number; frozen: number; total: number };
  };
  const [model, clips] = [await planned("--rank", "4"), await planned("--rank", "4", "--prior-target", "clips")];
  expect(model.flops).toBeGreaterThan(clips.flops);
  expect(model.flops).toBeLessThan(1.5 * clips.flops);
  expect(model.frozen).toBe(clips.frozen);
  // Weights that are trained are there as they were too.
  const [whole, alone] = [await planned("--full"), await planned("--full", "--prior-target", "clips")].map(({ frozen }) => frozen);
  expect(whole).toBeGreaterThan(alone!);
}, 120_000);

it.each([
  [["--prior-share", "1"], /prior\.share must be above 0 and below 1, got 1/],
  [["--prior-weight", "0"], /prior\.weight must be a number above 0, got 0/],
  [["--full", "--scratch"], /drawn weights know nothing that could be kept/],
  [["--prior", "nowhere"], /the data must be a folder of clips, got none at nowhere/],
  [["--held-out", "known"], /held-out clips must not be learned from, got .* of known/],
])(
  "%j is refused",
  async (args, want) => {
    const ended = await train([
      ...common,
      "--out",
      "refused",
      "--steps",
      "1",
      ...(args.includes("--full") ? [] : ["--rank", "4"]),
      ...args,
    ]);
    expect(ended.code).toBe(2);
    expect(ended.err).toMatch(want);
  },
  60_000,
);
