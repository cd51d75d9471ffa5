/** A generation under way: its steps, their previews, and a device that is lost in the middle. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Gpu } from "../../src/gpu/gpu.ts";
import { CogVideoX } from "../../src/pipelines/cogvideox/pipeline.ts";
import { GenerationInterrupted } from "../../src/pipelines/interrupted.ts";
import { showTexture } from "../../src/pipelines/textures.ts";
import { leastSquares, previewFrames, probeColors } from "../../src/pipelines/preview.ts";
import type { GenerationStep } from "../../src/pipelines/generation.ts";
import { CausalVae } from "../../src/models/vae/model.ts";
import { ComponentWeights } from "../../src/checkpoint/component-weights.ts";
import type { RgbaFrame } from "../../src/video/frame.ts";
import type { Video } from "../../src/pipelines/video.ts";
import { encodeVideo } from "../../src/video/encode.ts";
import { testGpu } from "../support/gpu.ts";
import { removeTinyCheckpoints, tinyCheckpoint } from "../support/tiny-checkpoint.ts";

let gpu: Gpu;
let folder: string;
beforeAll(async () => {
  gpu = await testGpu();
  folder = await tinyCheckpoint();
});
afterAll(removeTinyCheckpoints);

const PROMPT = "a red circle moving left";
const bytes = ({ frames }: Video): string => Buffer.concat(frames.map((f) => f.data)).toString("base64");

describe("a generation", () => {
  it.each(["ddim", "dpm"] as const)("gives its steps to a loop and the video to await, by %s", async (scheduler) => {
    await using model = await CogVideoX.open(folder, { gpu, dtype: "f32" });
    const options = { prompt: PROMPT, seed: 7, frames: 9, scheduler };
    const run = model.generate(options);
    const steps: GenerationStep[] = [];
    for await (const step of run) steps.push(step);
    const video = await run;
    expect(steps.map((s) => [s.step, s.steps])).toEqual([
      [1, 4],
      [2, 4],
      [3, 4],
      [4, 4],
    ]);
    expect(steps.at(-1)!.state.latents).toEqual(video.state.latents);
    for (const { seconds, secondsLeft } of steps) expect(seconds > 0 && secondsLeft >= 0).toBe(true);
    expect(steps.at(-1)!.secondsLeft).toBe(0);
    expect(steps[0]!.preview(), "previews are made only where they are asked for").toEqual([]);

    // A loop that begins late misses nothing; one that is left early stops nothing.
    const again = model.generate(options);
    await again;
    const late: number[] = [];
    for await (const { step } of again) late.push(step);
    expect(late).toEqual([1, 2, 3, 4]);
    const left = model.generate(options);
    for await (const { step } of left) if (step === 1) break;
    expect(bytes(await left)).toBe(bytes(video));
  });

  it("throws in the loop what goes wrong, and needs nobody to await it besides", async () => {
    await using model = await CogVideoX.open(folder, { gpu, dtype: "f32" });
    const unhandled: unknown[] = [];
    const listen = (reason: unknown) => unhandled.push(reason);
    process.on("unhandledRejection", listen);
    const controller = new AbortController();
    const seen: number[] = [];
    const failed = await (async () => {
      for await (const { step } of model.generate({
        prompt: PROMPT,
        seed: 7,
        frames: 1,
        signal: controller.signal,
        onStep: ({ step }) => {
          if (step === 2) controller.abort(new Error("enough"));
        },
      }))
        seen.push(step);
    })().catch((error: unknown) => error);
    await new Promise((resolve) => setTimeout(resolve, 20));
    process.off("unhandledRejection", listen);
    expect(seen).toEqual([1, 2]);
    expect(failed).toMatchObject({ state: { step: 2 }, cause: { message: "enough" } });
    expect(unhandled).toEqual([]);
  });
});

describe("previews", () => {
  it("have a frame for every latent frame, and show the clean video, not the noise", async () => {
    await using model = await CogVideoX.open(folder, { gpu, dtype: "f32" });
    for (const scheduler of ["ddim", "dpm"] as const) {
      const run = model.generate({ prompt: PROMPT, seed: 7, frames: 17, samples: 2, scheduler, preview: true });
      const steps: GenerationStep[] = [];
      for await (const step of run) steps.push(step);
      for (const step of steps) {
        for (const sample of [0, 1]) {
          const frames = step.preview(sample);
          expect(frames.length).toBe(5);
          for (const frame of frames) expect(frame).toMatchObject({ width: 4, height: 2, data: { length: 4 * 2 * 4 } });
        }
      }
      // After the last step nothing is noise any more: the preview is that of the latents themselves.
      const last = steps.at(-1)!;
      using vae = CausalVae.create(gpu, model.configs.vae, ComponentWeights.open(model.checkpoint.component("vae"), "f32"));
      const { latent_channels: channels } = model.configs.vae;
      const want = previewFrames(last.state.latents, { frames: 5, channels, height: 2, width: 4, skip: 0 }, await probeColors(vae));
      const off = last.preview().map((f, t) => f.data.reduce((most, v, i) => Math.max(most, Math.abs(v - want[t]!.data[i]!)), 0));
      expect(Math.max(...off), "largest difference of a byte").toBeLessThanOrEqual(1);
      expect(Object.keys((await run).seconds).includes("prepare preview"), "asked of the VAE once a model").toBe(scheduler === "ddim");
    }
  });

  it("know the colours of the embedded checkpoint: off by less than 0.09 from a small copy of the video", async () => {
    await using model = await CogVideoX.open(`${import.meta.dirname}/../../models/moving-shapes`, { gpu, dtype: "f32" });
    let [wrong, count] = [0, 0];
    for (const [seed, prompt] of [
      [1, "a red circle moving left on a black background"],
      [2, "a cyan square growing on a gray background"],
    ] as const) {
      const run = model.generate({ prompt, seed, steps: 6, frames: 9, preview: true });
      let last: GenerationStep | undefined;
      for await (const step of run) last = step;
      const { frames } = await run;
      last!.preview().forEach((picture, f) => {
        // Latent frame f stands for four frames, the first for one.
        const of = f === 0 ? frames.slice(0, 1) : frames.slice(4 * f - 3, 4 * f + 1);
        picture.data.forEach((got, i) => {
          if (i % 4 === 3) return;
          const [x, y] = [(i >> 2) % picture.width, Math.floor((i >> 2) / picture.width)];
          let sum = 0;
          for (const { data } of of) for (let p = 0; p < 64; p++) sum += data[((8 * y + (p >> 3)) * 64 + 8 * x + (p & 7)) * 4 + (i % 4)]!;
          [wrong, count] = [wrong + ((got - sum / 64 / of.length) / 255) ** 2, count + 1];
        });
      });
    }
    expect(count).toBe(2 * 3 * 8 * 8 * 3);
    expect(Math.sqrt(wrong / count), "root mean square difference").toBeLessThan(0.09);
  }, 240_000);

  it("are found by least squares", () => {
    const rows = [
      [1, 0, 1],
      [0, 1, 1],
      [1, 1, 1],
      [2, -1, 1],
    ];
    const solved = leastSquares(
      rows,
      rows.map(([a, b]) => [3 * a! - 2 * b! + 0.5]),
    );
    for (const [i, want] of [3, -2, 0.5].entries()) expect(solved[i]![0]).toBeCloseTo(want, 4);
  });
});

describe("frames as they come", () => {
  it.each([undefined, "exact"] as const)("are those of the video, in order, and can be encoded on the way (tiling %s)", async (tiling) => {
    await using model = await CogVideoX.open(folder, { gpu, dtype: "f32" });
    const parts: { first: number; sample: number; count: number }[] = [];
    const { writable, readable } = new TransformStream<RgbaFrame, RgbaFrame>();
    const writer = writable.getWriter();
    const film = encodeVideo(readable as unknown as AsyncIterable<RgbaFrame>, { format: "gif", fps: 8 });
    const video = await model.generate({
      prompt: PROMPT,
      seed: 7,
      frames: 17,
      ...(tiling ? { tiling } : {}),
      onFrames: async (frames, first, sample) => {
        parts.push({ first, sample, count: frames.length });
        for (const frame of frames) await writer.write(frame);
      },
    });
    await writer.close();
    expect(parts).toEqual([
      { first: 0, sample: 0, count: 9 },
      { first: 9, sample: 0, count: 8 },
    ]);
    expect(Buffer.from(await film).equals(Buffer.from(await encodeVideo(video.frames, { format: "gif", fps: 8 })))).toBe(true);
    await expect(model.generate({ prompt: PROMPT, textures: true, onFrames: () => undefined })).rejects.toThrow(
      /got textures and onFrames/,
    );
  });
});

describe("textures", () => {
  /** A texture's bytes, row by row. */
  async function bytesOf(texture: GPUTexture): Promise<Uint8Array> {
    const row = Math.ceil((4 * texture.width) / 256) * 256;
    using buffer = gpu.buffer("read", row * texture.height, GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC);
    const encoder = gpu.device.createCommandEncoder();
    encoder.copyTextureToBuffer({ texture }, { buffer: buffer.buffer, bytesPerRow: row }, [texture.width, texture.height]);
    gpu.device.queue.submit([encoder.finish()]);
    const padded = new Uint8Array(await gpu.read(buffer.buffer));
    return Uint8Array.from(
      { length: 4 * texture.width * texture.height },
      (_, i) => padded[Math.floor(i / (4 * texture.width)) * row + (i % (4 * texture.width))]!,
    );
  }

  it.each([
    ["rows of 128 bytes", {}, undefined],
    ["rows of 256 bytes", { width: 64 }, undefined],
    ["through exact tiling", {}, "exact"],
  ] as const)("hold the frames' bytes, which never came to the host: %s", async (_name, size, tiling) => {
    await using model = await CogVideoX.open(folder, { gpu, dtype: "f32" });
    const options = { prompt: PROMPT, seed: 7, frames: 17, samples: 2, ...size, ...(tiling ? { tiling } : {}) };
    const want = await model.generate(options);
    const got = await model.generate({ ...options, textures: true });
    expect(got.samples).toEqual([]);
    expect(() => got.frames).toThrow(
      "[generate] the frames were left on the device as textures, got a call that needs their bytes; generate without `textures`",
    );
    expect(got.textures.map((list) => list.length)).toEqual([17, 17]);
    for (const [n, list] of got.textures.entries())
      for (const [t, texture] of list.entries()) {
        expect(Buffer.from(await bytesOf(texture)).equals(Buffer.from(want.samples[n]![t]!.data)), `sample ${n}, frame ${t}`).toBe(true);
        // A canvas as Node has none: its context is this, the textures and the copy are real.
        if (t === 0) {
          let shown: GPUTexture | undefined;
          let configuration: GPUCanvasConfiguration | undefined;
          const canvas = { width: 1, height: 1 };
          const context = {
            canvas,
            getConfiguration: () => configuration,
            configure: (c: GPUCanvasConfiguration) => {
              configuration = c;
            },
            getCurrentTexture: () =>
              (shown = gpu.device.createTexture({
                size: [canvas.width, canvas.height],
                format: configuration!.format,
                usage: configuration!.usage! | GPUTextureUsage.COPY_SRC,
              })),
          } as unknown as GPUCanvasContext;
          showTexture(gpu, context, texture);
          expect([canvas.width, canvas.height]).toEqual([texture.width, texture.height]);
          expect(Buffer.from(await bytesOf(shown!)).equals(Buffer.from(want.samples[n]![t]!.data)), "on the canvas").toBe(true);
          shown!.destroy();
        }
        texture.destroy();
      }
    await expect(model.generate({ prompt: PROMPT, textures: true, tiling: "reference" })).rejects.toThrow(
      /textures are made as frames are decoded, got tiling reference/,
    );
  });
});

describe("a device of the model's own that is lost", () => {
  it("is opened again, and the generation goes on from its last step to the same video", async () => {
    await using whole = await CogVideoX.open(folder, { gpu, dtype: "f32" });
    for (const scheduler of ["ddim", "dpm"] as const) {
      const options = { prompt: PROMPT, seed: 7, frames: 1, scheduler };
      const want = bytes(await whole.generate(options));
      await using model = await CogVideoX.open(folder, { dtype: "f32" });
      const first = model.gpu;
      const warnings: string[] = [];
      const steps: number[] = [];
      const video = await model.generate({
        ...options,
        onWarning: (message) => warnings.push(message),
        onStep: ({ step }) => {
          steps.push(step);
          if (step === 2 && model.gpu === first) first.device.destroy();
        },
      });
      expect(bytes(video)).toBe(want);
      expect(steps).toEqual([1, 2, 3, 4]);
      expect(warnings).toEqual([
        expect.stringMatching(/^\[generate\] the GPU device was lost \(.+\); it is opened again, and the generation goes on from step 2$/),
      ]);
      expect(model.gpu).not.toBe(first);
      expect(first.memory.allocated).toBe(0);
    }
  }, 120_000);

  it("is given up when it is lost again at the same step", async () => {
    await using model = await CogVideoX.open(folder, { dtype: "f32" });
    let losses = 0;
    const failed = await model
      .generate({
        prompt: PROMPT,
        seed: 7,
        frames: 1,
        onProgress: (stage, done) => {
          if (stage === "denoise" && done === 0) {
            losses++;
            model.gpu.device.destroy();
          }
        },
      })
      .catch((error: unknown) => error);
    expect(losses).toBe(2);
    expect((failed as Error).message).toMatch(/the GPU device was lost/);
    expect(failed).not.toBeInstanceOf(GenerationInterrupted);
  }, 240_000);
});
