/** `cogwheel train` as a user has it, with the embedded model and a few drawn clips. */
import { spawn, spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, statSync } from "node:fs";
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { World } from "../../src/check/clip-attributes.ts";
import { captionOf } from "../../src/check/moving-shapes.ts";
import { RunLock } from "../../src/cli/run-lock.ts";
import { openSafetensors } from "../../src/files/safetensors.ts";
import { memorySource } from "../../src/sources/memory.ts";
import { runKilled, stateOf } from "../support/kill.ts";
import { watched, type Ended, type Watch } from "../support/watched.ts";

const launcher = resolve("dist/launch.js");
let folder: string;
/** What every run here has: one latent frame, an adapter of rank 4. */
let common: readonly string[];

beforeAll(async () => {
  const built = spawnSync(process.execPath, ["build.mjs", "--if-stale"], { encoding: "utf8" });
  expect(built.status, built.stderr).toBe(0);
  folder = await mkdtemp(join(tmpdir(), "cogwheel-train-"));
  const drawn = spawnSync(process.execPath, ["dist/draw-clips.js", join(folder, "clips"), "--clips", "4", "--frames", "5", "--size", "32"]);
  expect(drawn.status, String(drawn.stderr)).toBe(0);
  common = ["--data", join(folder, "clips"), "--cache", join(folder, "cache"), "--resolution", "32x32", "--frames", "1", "--rank", "4"];
}, 120_000);
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

it("clips are drawn of what a list of prompts leaves, and of nothing where it leaves nothing", async () => {
  const world = JSON.parse(await readFile("models/moving-shapes/attributes.json", "utf8")) as World;
  const all = Object.keys(world.colours).flatMap((colour) =>
    Object.keys(world.backgrounds).map((background) => captionOf({ colour, shape: "star", motion: "growing", background })),
  );
  const draw = async (name: string, without: readonly string[]) => {
    const list = join(folder, `${name}.json`);
    await writeFile(list, JSON.stringify(without.map((prompt) => ({ prompt }))));
    const size = ["--clips", "6", "--frames", "1", "--size", "16", "--shape", "star", "--motion", "growing"];
    return spawnSync(process.execPath, ["dist/draw-clips.js", join(folder, name), ...size, "--without", list], { encoding: "utf8" });
  };
  const two = await draw("two", all.slice(2));
  expect(two.status, two.stderr).toBe(0);
  const drawn = (await readFile(join(folder, "two/metadata.jsonl"), "utf8")).trim().split("\n");
  expect(drawn.map((line) => (JSON.parse(line) as { text: string }).text).filter((text) => !all.slice(0, 2).includes(text))).toEqual([]);
  expect(drawn).toHaveLength(6);
  expect((await draw("none", all)).stderr).toMatch(/--without must leave a combination to draw/);
});

const train = (args: readonly string[], watch?: Watch, env: Record<string, string> = {}): Promise<Ended> =>
  watched(
    spawn(process.execPath, [launcher, "train", ...args], {
      cwd: folder,
      env: { ...process.env, NO_COLOR: undefined, FORCE_COLOR: undefined, ...env },
    }),
    watch,
  );
/** The bytes that a run comes to. */
const result = (out: string): string[] =>
  ["checkpoint.safetensors", "pytorch_lora_weights.safetensors"].map((name) => stateOf(join(folder, out, name)));

describe("a run", () => {
  it("leaves an adapter that generate takes, and a log; the same command again has nothing left to do", async () => {
    const args = [...common, "--out", "first", "--steps", "6", "--lr", "1e-2"];
    const first = await train(args);
    expect(first.code, first.err).toBe(0);
    expect(first.out).toContain("6 steps, 6 clips in");
    const path = "pytorch_lora_weights.safetensors";
    const file = await openSafetensors(memorySource({ [path]: readFileSync(join(folder, "first", path)) }), path);
    expect(file.tensors.size).toBe(2 * 4 * 5);
    expect(JSON.parse(file.metadata["lora_adapter_metadata"]!)).toMatchObject({ "transformer.r": 4, "transformer.lora_alpha": 4 });
    const log = readFileSync(join(folder, "first/log.jsonl"), "utf8").trimEnd().split("\n");
    expect(log.map((text) => (JSON.parse(text) as { step: number }).step)).toEqual([1, 2, 3, 4, 5, 6]);
    const before = result("first");
    const again = await train(args);
    expect(again.err).toContain("Going on after step 6 of 6.");
    expect(result("first")).toEqual(before);
    const picture = join(folder, "picture.png");
    const made = spawnSync(process.execPath, [
      launcher,
      ...[
        "generate",
        "a red star",
        "--lora",
        join(folder, "first", path),
        "--steps",
        "1",
        "--frames",
        "1",
        "--seed",
        "1",
        "--out",
        picture,
      ],
    ]);
    expect(made.status, String(made.stderr)).toBe(0);
  }, 120_000);

  it("that is killed or stopped comes to the same bytes as one that is not", async () => {
    const args = [...common, "--steps", "8", "--checkpoint-every", "1", "--accumulation", "2"];
    expect((await train([...args, "--out", "whole"])).code).toBe(0);
    const want = result("whole");

    const out = join(folder, "killed");
    for (const call of [3, 9, 20, 35])
      await runKilled([launcher, "train", ...args, "--out", out], { at: { call, folder: out }, cwd: folder });
    expect((await train([...args, "--out", out, "--resume"])).code).toBe(0);
    expect(result("killed")).toEqual(want);

    const stopped = await train([...args, "--out", "stopped"], (text, child) => {
      // Once: a second one would end it at once.
      if (!child.killed && /clips of/.test(text)) child.kill("SIGINT");
    });
    expect(stopped.code).toBe(130);
    expect(stopped.err).toMatch(/Stopped after step \d+; the same command goes on from there/);
    expect((await train([...args, "--out", "stopped"])).code).toBe(0);
    expect(result("stopped")).toEqual(want);
  }, 240_000);

  it("is the only one in its folder, and what is kept of its clips is listed and cleared", async () => {
    const args = [...common, "--out", "alone", "--steps", "1"];
    mkdirSync(join(folder, "alone"));
    {
      await using _lock = await RunLock.take(join(folder, "alone/run.lock"));
      expect((await train(args)).err).toMatch(/\[run\] one process works in a folder at a time, got .*run\.lock/);
    }
    expect((await train(args)).code).toBe(0);
    // As if it had been kept where it is without --cache.
    await cp(join(folder, "cache"), join(folder, "user/cogwheel/training"), { recursive: true });
    const caches = { XDG_CACHE_HOME: join(folder, "user") };
    const cache = (...more: string[]) =>
      spawnSync(process.execPath, [launcher, "cache", ...more], { encoding: "utf8", env: { ...process.env, ...caches } }).stdout;
    expect((JSON.parse(cache("--json")) as { training: { files: number } }).training.files).toBeGreaterThan(4);
    expect(cache()).toMatch(/\d+ encoded clips and captions for training, .* in .*user/);
    expect(cache("clear", "--training")).toMatch(/^\d+ forgotten/);
    expect(cache()).not.toContain("for training");
  }, 120_000);

  it("keeps the last whole checkpoint on a full disk, and goes on from it when there is room", async () => {
    const args = [...common, "--steps", "4", "--checkpoint-every", "1"];
    expect((await train([...args, "--out", "roomy"])).code).toBe(0);
    const bytes = (name: string): number => statSync(join(folder, "roomy", name)).size;
    const full = join(folder, "full");
    mkdirSync(full);
    const room = Math.round(1.5 * bytes("checkpoint.safetensors")) + bytes("pytorch_lora_weights.safetensors");
    const ended = await train([...args, "--out", full], undefined, {
      FULL_IN: full,
      FULL_BYTES: String(room),
      NODE_OPTIONS: `--import ${resolve("test/support/full-disk.mjs")}`,
    });
    expect(ended.code).toBe(1);
    expect(ended.err).toContain("The checkpoint of step 2 could not be written, the one before stays");
    expect(ended.err).toContain("no space left on the disk; make room");
    const again = await train([...args, "--out", full]);
    expect(again.err).toContain("Going on after step 1 of 4.");
    expect(result("full")).toEqual(result("roomy"));
  }, 120_000);

  it("learns beside quantized weights, which belong to the run as its own do", async () => {
    const gguf = join(folder, "q8.gguf");
    const made = spawnSync(process.execPath, [launcher, "quantize", "--type", "q8_0", "--out", gguf], { encoding: "utf8" });
    expect(made.status, made.stderr).toBe(0);
    const args = [...common, "--out", "quantized", "--steps", "2"];
    await writeFile(join(folder, "quantized.json"), JSON.stringify({ transformer: "q8.gguf" }));
    const ended = await train(["quantized.json", ...args]);
    expect(ended.code, ended.err).toBe(0);
    expect((await train(args)).err).toMatch(/another weights/);
  }, 120_000);

  it("goes on with nothing else than it was begun with, and says what differs and how to begin anew", async () => {
    const out = ["--out", "other", "--steps", "2"];
    expect((await train([...common, ...out])).code).toBe(0);
    const rank = await train([...common, ...out, "--rank", "8"]);
    expect(rank.code).toBe(2);
    expect(rank.err).toMatch(/another trained\.lora\.rank \(4 then, 8 now\).*begin anew with --fresh, or choose another --out/);
    await cp(join(folder, "clips"), join(folder, "clips-2"), { recursive: true });
    const lines = readFileSync(join(folder, "clips/metadata.jsonl"), "utf8").trimEnd().split("\n");
    await writeFile(join(folder, "clips-2/metadata.jsonl"), lines.slice(1).join("\n"));
    const data = await train([...common, ...out, "--data", "clips-2"]);
    expect(data.err).toMatch(/another data \(.* then, .* now\); another clips \(4 then, 3 now\)/);
    expect((await train([...common, ...out, "--rank", "8", "--fresh"])).code).toBe(0);
  }, 120_000);
});

describe("what cannot be is refused before anything is loaded", () => {
  const config = async (value: object): Promise<Ended> => {
    await writeFile(join(folder, "config.json"), JSON.stringify(value));
    return await train(["config.json"]);
  };
  it.each([
    [{ weightdecay: 0.1 }, 'got "weightdecay"; the nearest is weightDecay'],
    [{ learning_rate: 0.1, data: "clips", out: "x" }, 'got "learning_rate"'],
    [{ steps: 0 }, "steps must be a whole number from 1, got 0"],
    [{ data: "clips" }, "out must be given, got none"],
    [{ data: "clips", out: "x", full: true, rank: 4, alpha: 2 }, "got rank and alpha with it; leave them out"],
    [{ data: "clips", out: "x", momentum: 0.9 }, "momentum is of muon"],
    [{ data: "clips", out: "x", steps: 5, warmup: 5 }, "the warm-up must be shorter than the run, got 5 of 5 steps"],
    // A place that nothing can be written to is about a file, as for every command.
    [{ data: "clips", out: "clips" }, "--out must not be what the result is made from", 1],
  ])("%j", async (value, want, code = 2) => {
    const ended = await config(value);
    expect(ended.code, ended.err).toBe(code);
    expect(ended.err).toContain(want);
  });

  it.each([
    [["--targets", "to_z"], 'a target must name modules of the model, got "to_z"'],
    [["--rank", "999"], "the rank must be at most the widest side of the targets, 128, got 999"],
    [["--frames", "6"], "frames must be 4·k + 1, got 6; the nearest is 5"],
    [["--resolution", "30"], "a side must be a multiple of 16 pixels, got 30; the nearest is 32"],
    [["--filter", "score >"], "a value or a column must stand here, got its end at character 8"],
    [["--resume"], "--resume goes on with a run, got none in refused"],
    [["--betas", "0.9"], "betas must be two numbers, got [0.9]"],
    [
      ["--image-noises", "2", "--condition-dropout", "0.1"],
      "got imageNoises and conditionDropout for one that takes text alone; leave them out",
    ],
    [["--held-out", "refused"], "clips must have captions in metadata.jsonl"],
  ])(
    "%j",
    async (args, want) => {
      const ended = await train([...common, "--out", "refused", "--steps", "2", ...args]);
      expect(ended.code, ended.err).toBe(2);
      expect(ended.err).toContain(want);
      // Before a clip is read or encoded, which may take hours.
      expect(ended.out).toBe("");
      expect(ended.err).not.toContain("read clips");
    },
    60_000,
  );
});
