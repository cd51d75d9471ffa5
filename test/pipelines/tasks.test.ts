import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { toFloat32 } from "../../src/files/convert.ts";
import { openSafetensors } from "../../src/files/safetensors.ts";
import { memorySource } from "../../src/sources/memory.ts";
import type { Gpu } from "../../src/gpu/gpu.ts";
import { CogVideoX } from "../../src/pipelines/cogvideox/pipeline.ts";
import { inpaintCondition, resizeLinear } from "../../src/pipelines/cogvideox/conditioning.ts";
import type { DenoiseState } from "../../src/models/cogvideox/model.ts";
import type { GenerationInterrupted } from "../../src/pipelines/interrupted.ts";
import { writeLatents } from "../../src/pipelines/latents-file.ts";
import { readLatents } from "../../src/pipelines/read-latents.ts";
import type { GenerateOptions } from "../../src/pipelines/options.ts";
import { dynamicGuidanceAt, switchesOf, textLength } from "../../src/pipelines/profiles.ts";
import type { Frame } from "../../src/video/frame.ts";
import { relativeL2 } from "../support/compare.ts";
import { testGpu } from "../support/gpu.ts";
import { removeTinyCheckpoints } from "../support/tiny-checkpoint.ts";
import { tinyFrame, tinyFrames, tinyTask, type TINY_TASKS } from "../support/tiny-tasks.ts";

let gpu: Gpu;
const models = new Map<string, CogVideoX>();
async function modelFor(task: keyof typeof TINY_TASKS): Promise<CogVideoX> {
  const model = models.get(task) ?? (await CogVideoX.open(await tinyTask(task), { gpu, dtype: "f32" }));
  models.set(task, model);
  return model;
}
let bytesBefore: number;
beforeAll(async () => {
  gpu = await testGpu();
  bytesBefore = gpu.memory.allocated;
});
afterAll(async () => {
  for (const model of models.values()) await model[Symbol.asyncDispose]();
  await removeTinyCheckpoints();
  expect(gpu.memory.allocated, "bytes left behind by this file").toBe(bytesBefore);
});

const PROMPT = "a red circle moving left";
const base = { prompt: PROMPT, seed: 7, frames: 9, steps: 4, guidance: 3 } as const;
const white = (): Frame => ({ width: 32, height: 16, data: new Uint8Array(32 * 16 * 3).fill(255) });

describe("a seed alone gives diffusers' latents", async () => {
  const path = join(import.meta.dirname, "fixtures/seeds.safetensors");
  const file = await openSafetensors(memorySource({ file: new Uint8Array(await readFile(path)) }, path), "file");
  const inputs: Record<string, Partial<GenerateOptions>> = {
    image: { image: tinyFrame(0) },
    video: { video: tinyFrames(9), strength: Number(file.metadata["strength"]) },
    control: { control: tinyFrames(9) },
  };
  it.for([...file.tensors.keys()])("%s", async (name) => {
    const [what, scheduler] = name.split(", ") as [string, "ddim" | "dpm"];
    const kind = what.split(" ")[0]!;
    const model = await modelFor(what.includes("1.5") ? `${kind} 1.5` : kind === "video" ? "text" : kind);
    const { state } = await model.generate({
      ...base,
      ...inputs[kind],
      scheduler,
      ...(what.includes("2 samples") ? { samples: 2 } : {}),
      ...(what.includes("dynamic") ? { dynamicGuidance: true } : {}),
    });
    const want = toFloat32((await file.read(name)).bytes, file.tensors.get(name)!.dtype);
    expect(relativeL2(state.latents, want)).toBeLessThan(1e-4);
  });
});

describe("several videos a prompt", () => {
  it("are what their noise gives one by one", async () => {
    const model = await modelFor("text");
    const both = await model.generate({ ...base, frames: 8, samples: 2 });
    expect(both.samples.length).toBe(2);
    const noise: Float32Array[] = [];
    const { TorchGenerator } = await import("../../src/diffusion/torch-random.ts");
    const all = new TorchGenerator(7).randn([2, 2, 4, 2, 4]);
    for (const half of [0, 1]) noise.push(all.slice((half * all.length) / 2, ((half + 1) * all.length) / 2));
    for (const [i, start] of noise.entries()) {
      const one = await model.generate({ ...base, frames: 8, start });
      expect(relativeL2(both.state.latents.subarray((i * all.length) / 2, ((i + 1) * all.length) / 2), one.state.latents)).toBeLessThan(
        1e-6,
      );
      expect(both.samples[i]!.length).toBe(8);
      expect(
        Math.max(...both.samples[i]!.flatMap((frame, t) => [...frame.data].map((v, k) => Math.abs(v - one.frames[t]!.data[k]!)))),
      ).toBeLessThanOrEqual(1);
    }
  });
});

describe("runs that go on", () => {
  it.for(["image", "video", "control"] as const)(
    "a stopped run from %s ends where the whole one does, through a file, without its frames",
    async (kind) => {
      const model = await modelFor(kind === "video" ? "text" : kind);
      const options: GenerateOptions = {
        ...base,
        scheduler: kind === "control" ? "ddim" : "dpm",
        ...(kind === "image" ? { image: tinyFrame(0) } : { [kind]: tinyFrames(9) }),
      };
      const whole = await model.generate(options);
      let caught: DenoiseState | undefined;
      await model
        .generate({
          ...options,
          onStep: ({ step }) => {
            if (step === 2) throw new Error("enough");
          },
        })
        .catch((error: unknown) => {
          caught = (error as GenerationInterrupted).state;
        });
      expect(caught!.step).toBe(2);
      const file = writeLatents({ state: caught!, shape: [1, 3, 4, 2, 4], settings: { ...base, task: caught!.task! } });
      const { state } = await readLatents(file, "saved");
      const { image: _image, video: _video, control: _control, ...without } = options;
      const rest = await model.generate({ ...without, start: state });
      expect(relativeL2(rest.state.latents, whole.state.latents)).toBe(0);
    },
  );
});

describe("profiles", () => {
  it("disagree where the table says so, and nowhere else", async () => {
    const model = await modelFor("image 1.5");
    const run = async (profile: "diffusers" | "sat" | "corrected", more: Partial<GenerateOptions> = {}) =>
      (await model.generate({ ...base, image: tinyFrame(0), profile, ...more })).state.latents;
    const plain = await run("diffusers");
    expect(relativeL2((await model.generate({ ...base, image: tinyFrame(0) })).state.latents, plain), "the default").toBe(0);
    const [sat, corrected] = [await run("sat"), await run("corrected")];
    expect(relativeL2(sat, plain)).toBeGreaterThan(1e-3);
    expect(relativeL2(sat, corrected), "alike without dynamic guidance").toBe(0);
    expect(relativeL2(await run("sat", { dynamicGuidance: true }), await run("corrected", { dynamicGuidance: true }))).toBeGreaterThan(
      1e-4,
    );
    const text = await modelFor("text");
    expect(
      relativeL2((await text.generate({ ...base, profile: "sat" })).state.latents, (await text.generate(base)).state.latents),
      "2B and 5B",
    ).toBe(0);
  });

  it("1.5's image latents: divided by the scaling factor, or as they are", async () => {
    const model = await modelFor("image 1.5");
    const seen: Record<string, Float32Array> = {};
    for (const profile of ["diffusers", "sat"] as const)
      await model.generate({
        ...base,
        image: tinyFrame(0),
        profile,
        onStep: ({ condition }) => {
          seen[profile] = condition!;
        },
      });
    expect(seen["diffusers"]!.some((v) => v !== 0)).toBe(true);
    expect(
      relativeL2(
        seen["diffusers"]!,
        seen["sat"]!.map((v) => v / 0.7),
      ),
    ).toBeLessThan(1e-6);
  });

  it("dynamic guidance follows the raw timestep, or how much is done", () => {
    const [steps, scale] = [50, 6];
    for (const [i, t] of [
      [0, 999],
      [13, 739],
      [49, 19],
    ] as const) {
      const formula = (x: number) => 1 + (scale * (1 - Math.cos(Math.PI * x ** 5))) / 2;
      expect(dynamicGuidanceAt(switchesOf("diffusers"), scale, steps, i, t)).toBe(formula((steps - t) / steps));
      expect(dynamicGuidanceAt(switchesOf("sat"), scale, steps, i, t)).toBe(formula((steps - t) / steps));
      expect(dynamicGuidanceAt(switchesOf("corrected"), scale, steps, i, t)).toBeCloseTo(formula(i / steps), 12);
    }
    expect(dynamicGuidanceAt(switchesOf("corrected"), scale, steps, 0, 999)).toBe(1);
  });

  it("text tokens: 224 for 1.5 where its authors' sampler is followed", () => {
    const config = { max_text_seq_length: 226, patch_size_t: 2 };
    expect([
      textLength(switchesOf("diffusers"), config),
      textLength(switchesOf("sat"), config),
      textLength(switchesOf("corrected"), config),
    ]).toEqual([226, 224, 226]);
    expect(textLength(switchesOf("sat"), { ...config, patch_size_t: null })).toBe(226);
  });
});

describe("inpainting", () => {
  it("keeps out what is masked, and takes an image as a video of which one frame is kept", async () => {
    const model = await modelFor("inpaint");
    const video = tinyFrames(9);
    const conditionOf = async (options: Partial<GenerateOptions>) => {
      let seen: Float32Array | undefined;
      await model.generate({
        ...base,
        steps: 1,
        ...options,
        onStep: ({ condition }) => {
          seen = condition;
        },
      });
      return seen!;
    };
    const masked = await conditionOf({ video, mask: [white()] });
    expect(relativeL2(masked, await conditionOf({ video: tinyFrames(12).slice(3), mask: [white()] })), "nothing of the video is seen").toBe(
      0,
    );
    const shape = [3, 5, 8]; // F, 1 + C, h·w
    const plane = (condition: Float32Array, f: number) =>
      condition.subarray(f * shape[1]! * shape[2]!, f * shape[1]! * shape[2]! + shape[2]!);
    expect([...plane(masked, 1)]).toEqual(Array(8).fill(0));
    const fromImage = await conditionOf({ image: video[0]! });
    for (const value of plane(fromImage, 0)) expect(value).toBeCloseTo(0.7, 6);
    expect([...plane(fromImage, 1), ...plane(fromImage, 2)]).toEqual(Array(16).fill(0));
    expect(relativeL2(fromImage, masked)).toBeGreaterThan(0.1);
  });

  it("resizes linearly between pixel centres", () => {
    expect([...resizeLinear(Float32Array.of(0, 1, 2, 3), [1, 1, 4], [1, 1, 2])]).toEqual([0.5, 2.5]);
    expect([...resizeLinear(Float32Array.of(0, 1), [2, 1, 1], [4, 1, 1])]).toEqual([0, 0.25, 0.75, 1]);
    const condition = inpaintCondition(
      new Float32Array(2).fill(9),
      Float32Array.of(1, 0, 1, 0, 0),
      { frames: 2, channels: 1, height: 1, width: 1, videoFrames: 5, videoHeight: 1, videoWidth: 1 },
      2,
    );
    expect([...condition], "the first frame alone, then the two in the middle of the rest").toEqual([2, 9, 1, 9]);
  });
});

describe("frames of a video", () => {
  it("are as many as fit, the first ones", async () => {
    const model = await modelFor("text");
    const { settings, frames } = await model.generate({ ...base, frames: undefined as never, video: tinyFrames(12) });
    expect([settings.frames, frames.length]).toEqual([9, 9]);
    const { settings: eight } = await model.generate({ prompt: PROMPT, seed: 7, steps: 2, video: tinyFrames(8) });
    expect(eight.frames).toBe(8);
    const in15 = await modelFor("text 1.5");
    expect(
      (await in15.generate({ prompt: PROMPT, steps: 2, video: tinyFrames(9) })).settings.frames,
      "even latents, for nothing is padded",
    ).toBe(8);
  });
  it("of other sizes are made to fit", async () => {
    const model = await modelFor("image");
    const of = async (fit?: "crop" | "stretch" | "pad") =>
      (await model.generate({ ...base, image: tinyFrame(0, 40, 33), ...(fit ? { fit } : {}) })).state.latents;
    const [crop, stretch, pad] = [await of("crop"), await of("stretch"), await of("pad")];
    expect(relativeL2(await of(), crop)).toBe(0);
    for (const other of [stretch, pad]) expect(relativeL2(other, crop)).toBeGreaterThan(1e-4);
  });
});

describe("what a checkpoint cannot do is refused", () => {
  const refused: [keyof typeof TINY_TASKS, Partial<GenerateOptions>, RegExp][] = [
    ["image", {}, /this checkpoint needs an image, got neither; give one/],
    ["image", { video: tinyFrames(9) }, /needs an image, got video; give that/],
    ["control", { image: tinyFrame(0) }, /needs a control, got image/],
    ["text", { image: tinyFrame(0) }, /makes videos from text, with a video to begin from if you like, got image/],
    ["text", { video: tinyFrames(9), image: tinyFrame(0) }, /one of image, video and control can be given, got image and video/],
    ["text", { strength: 0.5 }, /strength goes with a video/],
    ["text", { video: tinyFrames(9), strength: 0 }, /strength must be above 0/],
    ["text", { video: tinyFrames(9), strength: 0.1 }, /steps × strength must be at least 1, got 4 × 0.1/],
    ["text", { video: tinyFrames(9), strength: NaN }, /strength must be above 0/],
    ["text", { video: tinyFrames(5) }, /must have at least the 9 frames that are made, got 5/],
    ["text", { video: [] }, /video must be a list of frames, got an empty one/],
    ["text", { video: [{ width: 32, height: 16, data: new Uint8Array(5) }] }, /must have 1536 bytes of RGB/],
    ["text", { video: "a.mp4" as never }, /must be a list of frames, got string|must have at least/],
    ["text", { mask: [white()] }, /a mask goes with a video and an inpainting checkpoint/],
    ["inpaint", { video: tinyFrames(9) }, /inpainting a video needs a mask/],
    ["inpaint", { video: tinyFrames(9), mask: tinyFrames(3) }, /a mask must have one frame, or the 9 that are made, got 3/],
    ["text 1.5", { video: tinyFrames(9), frames: 9 }, /makes multiples of 8 frames, got 9; the nearest below is 8/],
    ["text", { samples: 0 }, /samples must be a whole number from 1 to 64, got 0/],
    ["text", { profile: "sota" as never }, /profile must be diffusers, sat, corrected, got "sota"/],
    ["text", { tiling: "always" as never }, /tiling must be none, exact, reference, got "always"/],
    ["image", { image: tinyFrame(0), fit: "squash" as never }, /fit must be crop, stretch, pad, got "squash"/],
    ["text", { start: new Float32Array(3) }, /latents must be \[1, 3, 4, 2, 4\] = 96 values/],
  ];
  it.for(refused.map(([task, options, message]) => ({ task, options, message, given: Object.keys(options).join(", ") || "nothing" })))(
    "$task: $given, $message",
    async ({ task, options, message }) => {
      const model = await modelFor(task);
      await expect(model.generate({ ...base, ...options })).rejects.toThrow(message);
    },
  );
});

describe("tiling", () => {
  it("reference: smaller plans, the same latents, other pictures at sizes above a tile", async () => {
    const { tinyCheckpoint } = await import("../support/tiny-checkpoint.ts");
    await using model = await CogVideoX.open(await tinyCheckpoint({ configs: { vae: { sample_height: 96, sample_width: 80 } } }), {
      gpu,
      dtype: "f32",
    });
    const size = { width: 64, height: 64, frames: 1 };
    const [whole, tiles] = [await model.generate({ ...base, ...size }), await model.generate({ ...base, ...size, tiling: "reference" })];
    expect(relativeL2(tiles.state.latents, whole.state.latents)).toBe(0);
    expect(tiles.frames[0]).toMatchObject({ width: 64, height: 64 });
    const differ = tiles.frames[0]!.data.filter((v, i) => v !== whole.frames[0]!.data[i]).length;
    expect(differ).toBeGreaterThan(0);
    await using odd = await CogVideoX.open(await tinyCheckpoint({ configs: { vae: { sample_height: 64, sample_width: 64 } } }), {
      gpu,
      dtype: "f32",
    });
    await expect(odd.generate({ ...base, ...size, tiling: "reference" }), "overlaps that do not come out even").rejects.toThrow(
      /reference tiling of this VAE gives 68 × 70 pixels in place of 64 × 64/,
    );
    const exact = await model.generate({ ...base, ...size, tiling: "exact" });
    expect(Math.max(...exact.frames[0]!.data.map((v, i) => Math.abs(v - whole.frames[0]!.data[i]!)))).toBeLessThanOrEqual(1);
    const of = (tiling: "none" | "reference") =>
      model.requirements({ width: 128, height: 128, frames: 1, tiling }).find(({ stage }) => stage === "decoder")!.activations;
    expect(of("reference")).toBeLessThan(of("none") / 4);
  });
});
