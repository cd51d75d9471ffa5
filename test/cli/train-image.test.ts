/** `cogwheel train` on an image-to-video model: images of clips with noise of many strengths, an adapter, and a video made with it. */
import { spawn, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { openSafetensors } from "../../src/files/safetensors.ts";
import { memorySource } from "../../src/sources/memory.ts";
import { stateOf } from "../support/kill.ts";
import { removeTinyCheckpoints, TINY_CONFIGS, tinyCheckpoint } from "../support/tiny-checkpoint.ts";
import { watched, type Ended } from "../support/watched.ts";

const launcher = resolve("dist/launch.js");
const ADAPTER = "pytorch_lora_weights.safetensors";
let folder: string;
let model: string;

beforeAll(async () => {
  const built = spawnSync(process.execPath, ["build.mjs", "--if-stale"], { encoding: "utf8" });
  expect(built.status, built.stderr).toBe(0);
  folder = await mkdtemp(join(tmpdir(), "cogwheel-train-image-"));
  const drawn = spawnSync(process.execPath, ["dist/draw-clips.js", join(folder, "clips"), "--clips", "3", "--frames", "9", "--size", "32"]);
  expect(drawn.status, String(drawn.stderr)).toBe(0);
  model = await tinyCheckpoint({
    pipeline: "CogVideoXImageToVideoPipeline",
    shaped: true,
    configs: { transformer: { in_channels: 2 * TINY_CONFIGS.vae.latent_channels } },
  });
}, 120_000);
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
  await removeTinyCheckpoints();
});

const cogwheel = (...args: string[]): Promise<Ended> =>
  watched(
    spawn(process.execPath, [launcher, ...args], { cwd: folder, env: { ...process.env, NO_COLOR: undefined, FORCE_COLOR: undefined } }),
  );

it("an adapter learns from images, goes on after a break to the same bytes, and animates an image", async () => {
  const common = ["--model", model, "--data", "clips", "--cache", "cache", "--resolution", "32x16", "--frames", "9"];
  const learns = [...common, "--rank", "4", "--lr", "1e-2", "--image-noises", "2", "--checkpoint-every", "2", "--batch", "2"];
  const whole = await cogwheel("train", ...learns, "--steps", "4", "--out", "whole");
  expect(whole.code, whole.err).toBe(0);
  const log = readFileSync(join(folder, "whole/log.jsonl"), "utf8").trimEnd().split("\n");
  expect(log.every((text) => Number.isFinite((JSON.parse(text) as { loss: number }).loss))).toBe(true);
  const file = await openSafetensors(memorySource({ [ADAPTER]: readFileSync(join(folder, "whole", ADAPTER)) }), ADAPTER);
  const up = [...file.tensors.keys()].filter((name) => name.includes("lora_B"));
  for (const name of up) expect((await file.read(name)).bytes.some((byte) => byte !== 0)).toBe(true);

  const stopped = await watched(
    spawn(process.execPath, [launcher, "train", ...learns, "--steps", "4", "--out", "stopped"], { cwd: folder, env: process.env }),
    (text, child) => {
      // Once: a second one would end it at once.
      if (!child.killed && /clips of/.test(text)) child.kill("SIGINT");
    },
  );
  expect(stopped.code).toBe(130);
  expect((await cogwheel("train", ...learns, "--steps", "4", "--out", "stopped")).code).toBe(0);
  expect(stateOf(join(folder, "stopped", ADAPTER))).toBe(stateOf(join(folder, "whole", ADAPTER)));

  const film = async (out: string, ...more: string[]): Promise<string> => {
    const image = ["--image", "first.png", "--steps", "2", "--seed", "1", "--out", out];
    const made = await cogwheel("generate", "a red circle", "--model", model, ...image, ...more);
    expect(made.code, made.err).toBe(0);
    return stateOf(join(folder, out));
  };
  const picture = await cogwheel(
    "generate",
    "a star",
    "--frames",
    "1",
    "--steps",
    "1",
    "--size",
    "32x16",
    "--seed",
    "1",
    "--out",
    "first.png",
  );
  expect(picture.code, picture.err).toBe(0);
  expect(await film("adapted/", "--lora", join("whole", ADAPTER))).not.toBe(await film("plain/"));
}, 240_000);
