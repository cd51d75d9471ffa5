/** `cogwheel train vae` as a user has it, with a tiny checkpoint and a few drawn clips. */
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { RunLock } from "../../src/cli/run-lock.ts";
import { VAE_KEYS } from "../../src/cli/train/vae/keys.ts";
import { stateOf } from "../support/kill.ts";
import { removeTinyCheckpoints, tinyCheckpoint } from "../support/tiny-checkpoint.ts";
import { watched, type Ended } from "../support/watched.ts";

const launcher = resolve("dist/launch.js");
let folder: string;
let model: string;

beforeAll(async () => {
  expect(spawnSync(process.execPath, ["build.mjs", "--if-stale"]).status).toBe(0);
  folder = await mkdtemp(join(tmpdir(), "cogwheel-train-vae-"));
  model = await tinyCheckpoint();
  for (const [name, args] of [
    ["clips", ["--clips", "4", "--pictures", "1"]],
    ["unseen", ["--clips", "1", "--seed", "1"]],
  ] as const) {
    const drawn = spawnSync(process.execPath, ["dist/draw-clips.js", join(folder, name), "--frames", "9", "--size", "16", ...args]);
    expect(drawn.status, String(drawn.stderr)).toBe(0);
  }
  // Captions are not asked for.
  await rm(join(folder, "unseen/metadata.jsonl"));
}, 120_000);
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
  await removeTinyCheckpoints();
});

const begin = (args: readonly string[]) =>
  spawn(process.execPath, [launcher, "train", "vae", ...args], {
    cwd: folder,
    env: { ...process.env, NO_COLOR: undefined, FORCE_COLOR: undefined },
  });
const train = (args: readonly string[]): Promise<Ended> => watched(begin(args));
const config = async (value: object): Promise<string[]> => {
  const path = join(folder, "config.json");
  await writeFile(path, JSON.stringify({ model, data: "clips", out: "out", ...value }));
  return [path];
};

describe("a run", () => {
  const stages = [
    { steps: 2, frames: 1, resolution: "16", batch: 2 },
    { steps: 3, frames: 9, resolution: "16", lr: 1e-3 },
  ];
  const held = ["--checkpoint-every", "1", "--held-out", "unseen", "--held-out-every", "2"];

  it("that is killed comes to the same bytes, and leaves a VAE that decodes, measures and a report", async () => {
    const args = [...(await config({ stages, part: "both", kl: 1e-4 })), ...held];
    const whole = await train([...args, "--out", "whole"]);
    expect(whole.code, whole.err).toBe(0);
    expect(whole.out).toMatch(/stage 2: 4 clips of .*\n.*held-out clips: PSNR [\d.]+ dB, SSIM [\d.-]+, flicker/s);
    for (const step of [1, 3]) {
      const child = begin([...args, "--out", "killed"]);
      const ended = watched(child);
      const log = join(folder, "killed/log.jsonl");
      while (!(existsSync(log) && readFileSync(log, "utf8").includes(`"step":${step},`)) && child.exitCode === null) await sleep(5);
      child.kill("SIGKILL");
      await ended;
      expect(child.signalCode).toBe("SIGKILL");
    }
    expect((await train([...args, "--out", "killed", "--resume"])).code).toBe(0);
    for (const name of ["checkpoint.safetensors", "vae/diffusion_pytorch_model.safetensors", "held-out.jsonl", "samples"])
      expect(stateOf(join(folder, "killed", name)), name).toBe(stateOf(join(folder, "whole", name)));
    const page = readFileSync(join(folder, "whole/report.html"), "utf8");
    for (const words of ["held-out clips: PSNR, dB", "loss: kl", ">stage 2, 16, 9 frames</text>", "reconstructions, step 5"])
      expect(page).toContain(words);
    const clip = join(folder, "clips/videos/clip-0001.gif");
    const encode = (name: string, of: readonly string[]): Buffer => {
      const out = join(folder, name);
      const encoded = spawnSync(process.execPath, [launcher, "vae", "encode", clip, ...of, "--out", out], { cwd: folder });
      expect(encoded.status, String(encoded.stderr)).toBe(0);
      return readFileSync(out);
    };
    // In a checkpoint's place, and by itself: its folder, or that of the run.
    const latents = encode("a.safetensors", ["--model", model, "--vae", "whole/vae/diffusion_pytorch_model.safetensors"]);
    for (const of of [
      ["--model", model, "--vae", "whole/vae"],
      ["--model", "whole/vae"],
      ["--model", "whole"],
    ])
      expect(encode("b.safetensors", of), of.join(" ")).toEqual(latents);
    // Begun from there, a run of its own; never into the folder that it reads.
    const further = await config({ model: undefined, steps: 1, frames: 1, resolution: "16" });
    for (const of of [
      ["--vae", "whole/vae"],
      ["--model", "whole/vae"],
    ]) {
      const into = await train([...further, ...of, "--out", "whole"]);
      expect(into.err).toMatch(/--out must not be what the result is made from, got whole/);
    }
    expect((await train([...further, "--vae", "whole/vae", "--out", "further"])).code).toBe(0);
    // It takes on the device what was planned.
    const planned = await train([...further, "--vae", "whole/vae", "--out", "further", "--plan", "--json"]);
    const [{ total }] = (JSON.parse(planned.out) as { stages: [{ total: number }] }).stages;
    const { bytes } = JSON.parse(readFileSync(join(folder, "further/log.jsonl"), "utf8")) as { bytes: number };
    expect(Math.abs(total / bytes - 1)).toBeLessThan(0.02);
    // What differs is told by stage and key, and whose run it is.
    const other = [stages[0], { ...stages[1], lr: 2e-3, disc: 0.5, resolution: "24" }];
    const refused = await train([...(await config({ stages: other, part: "both", kl: 1e-4 })), "--out", "whole"]);
    expect(refused.err).toMatch(/stage 2: lr \(0\.001 then, 0\.002 now\); another stage 2: losses\.disc \(0 then, 0\.5 now\)/);
    const ofTransformer = await watched(
      spawn(process.execPath, [launcher, "train", "--data", "clips", "--out", "whole", "--model", model], { cwd: folder }),
    );
    expect(ofTransformer.err).toMatch(
      /a transformer, got the folder whole that holds the training of a VAE; go on with that by `train vae`/,
    );
  }, 240_000);
});

it("a run is the only one in its folder", async () => {
  mkdirSync(join(folder, "alone"));
  await using _lock = await RunLock.take(join(folder, "alone/run.lock"));
  const ended = await train([...(await config({ steps: 1 })), "--out", "alone"]);
  expect(ended.code).toBe(1);
  expect(ended.err).toMatch(/\[run\] one process works in a folder at a time, got .*run\.lock/);
}, 60_000);

interface Stage {
  readonly shape: object;
  readonly total: number;
  readonly parameters: number;
  readonly seconds: number | null;
}

it("is planned by its stages, with a discriminator's share", async () => {
  const stages = [
    { steps: 1, frames: 1, resolution: "64" },
    { steps: 1, frames: 17, resolution: "64", disc: 0.5 },
  ];
  const planned = await train([...(await config({ stages, discWidth: 4, discLayers: 1 })), "--plan", "--json"]);
  expect(planned.code, planned.err).toBe(0);
  const [small, large] = (JSON.parse(planned.out) as { stages: Stage[] }).stages as [Stage, Stage];
  expect(small.shape).toEqual({ clips: 1, frames: 1, height: 64, width: 128 });
  expect(large.total).toBeGreaterThan(small.total);
  expect(large.parameters).toBeGreaterThan(small.parameters);
  // Of a step, where measuring is not off.
  expect([small, large].every(({ seconds }) => seconds === null || seconds > 0)).toBe(true);
  expect(existsSync(join(folder, "out"))).toBe(false);
}, 60_000);

describe("refused", () => {
  it.each<[object, string]>([
    [{ perceptul: 1 }, 'got "perceptul"'],
    [{ targets: ["to_q"] }, 'a key must be one of those in docs/training-vae.md, got "targets"'],
    [{ stages: [{ steps: 1, frames: 5 }] }, "stage 1: a VAE learns from clips of 8·k + 1 frames, got 5"],
    [{ steps: 1, perceptual: 1 }, "perceptual counts by the files of a network, got none"],
    [{ steps: 1, discWidth: 8 }, "a discriminator is asked where disc is above 0, got discWidth with it"],
    [
      { stages: [{ steps: 1 }, { steps: 1, disc: 1 }], discKernel: 4, frames: 9, resolution: "64" },
      "stage 2: the discriminator judges clips of 16",
    ],
    [{ steps: 1, disc: 1, discPenaltyWeight: 1 }, "a discriminator's gradient costs something where discPenalty is r1 or unit"],
    [{ steps: 1, disc: 1, discPenalty: "r1", discPenaltyWeight: 0 }, "discPenaltyWeight must be above 0, got 0"],
    [{ steps: 1, discPenalty: "unit" }, "a discriminator is asked where disc is above 0, got discPenalty with it"],
    [{ steps: 1, disc: 1, discKernel: 8 }, "kernel_size must be a whole number from 2 to 7, got 8"],
    [{ steps: 1, lpips: "none.pth" }, "LPIPS is asked where perceptual is above 0 or heldOut names clips"],
    [{ steps: 1, perceptual: 1, lpips: "none.pth" }, "--lpips"],
    [{ steps: 1, kl: 0.1 }, "kl is of the encoder, and the decoder alone is trained"],
    [{ steps: 1, resolution: "20" }, "a side must be a multiple of 8 pixels, got 20; the nearest is 24"],
    [{ steps: 1, frames: 9, resolution: "16", heldOut: "clips" }, "held-out clips must not be learned from"],
  ])(
    "%j",
    async (value, want) => {
      const ended = await train(await config(value));
      expect(ended.code, ended.err).toBe(2);
      expect(ended.err).toContain(want);
    },
    60_000,
  );
});

it("docs/training-vae.md has every key with its words", () => {
  const page = readFileSync("docs/training-vae.md", "utf8");
  for (const [name, { help, otherwise }] of Object.entries(VAE_KEYS)) expect(page).toContain(`| \`${name}\` | ${help} | ${otherwise} |`);
});
