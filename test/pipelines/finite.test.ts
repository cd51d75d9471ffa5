/** A NaN or an infinity, wherever it comes from, is an error that says so, not a black film; and arrays are of the type that is read. */
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Gpu } from "../../src/gpu/gpu.ts";
import { CausalVae } from "../../src/models/vae/model.ts";
import { CogVideoX } from "../../src/pipelines/cogvideox/pipeline.ts";
import type { DenoiseState } from "../../src/models/cogvideox/model.ts";
import type { GenerationInterrupted } from "../../src/pipelines/interrupted.ts";
import { writeLatents, writeVideoLatents } from "../../src/pipelines/latents-file.ts";
import { readLatents } from "../../src/pipelines/read-latents.ts";
import { VideoVae } from "../../src/pipelines/video-vae.ts";
import { encodeVideo } from "../../src/video/encode.ts";
import { testGpu } from "../support/gpu.ts";
import { removeTinyCheckpoints, type TINY_CONFIGS, tinyCheckpoint, tinyWeights, type TinyOptions } from "../support/tiny-checkpoint.ts";
import { storedValues } from "../../src/run/weight-provider.ts";

const ROOT = join(import.meta.dirname, "../..");
const PROMPT = "a red circle moving left";
const ADVICE =
  /must be finite, got .*run it with checkFinite \(--check-finite\), which names the first node that makes one, and look at weights, adapters and guidance/;

let gpu: Gpu;
let folder: string;
beforeAll(async () => {
  gpu = await testGpu();
  folder = await tinyCheckpoint();
});
afterAll(removeTinyCheckpoints);

/** A checkpoint with one bad value in a matrix. */
const damaged = (component: keyof typeof TINY_CONFIGS, weight: RegExp, value: number): Promise<string> => {
  const edit: NonNullable<TinyOptions["edit"]> = (name, weights) => {
    const [found] = [...weights].filter(([key, { shape }]) => name === component && weight.test(key) && shape.length > 1);
    if (found) found[1].data[5] = value;
  };
  return tinyCheckpoint({ edit });
};

describe("a checkpoint with a value that is no number", () => {
  it.each([
    ["text_encoder", /SelfAttention\.v\.weight/, NaN, /^\[generate\] what the text encoder makes of the prompt /],
    ["text_encoder", /wo\.weight/, Infinity, /^\[generate\] what the text encoder makes of the prompt /],
    ["transformer", /attn1\.to_v\.weight/, NaN, /^\[denoise\] the latents after step 1 of 4 /],
    ["transformer", /ff\.net\.2\.weight/, -Infinity, /^\[denoise\] the latents after step 1 of 4 /],
    ["vae", /decoder\.mid_block.*conv1.*weight/, NaN, /\[check-finite\] every value .* in node \S+ of vae\.decode/],
  ] as const)("in %s's %s: %d is named, with each tiling", async (component, weight, value, message) => {
    const bad = await damaged(component, weight, value);
    for (const tiling of component === "vae" ? (["none", "exact"] as const) : (["none"] as const)) {
      await using model = await CogVideoX.open(bad, { gpu, dtype: "f32" });
      const shown: unknown[] = [];
      const error = await model.generate({ prompt: PROMPT, seed: 1, tiling, onFrames: (frames) => void shown.push(frames) }).then(
        () => undefined,
        (e: unknown) => e as Error,
      );
      expect(error?.message).toMatch(message);
      expect(error?.message).toMatch(component === "vae" ? /finite, got .*(--check-finite)/ : ADVICE);
      expect(shown).toEqual([]);
      // What is kept of a run is what one can go on from.
      if (component === "vae") expect((error as GenerationInterrupted).state.latents.every(Number.isFinite)).toBe(true);
    }
  });

  it("is found in frames that stay on the device, and in an image's or video's encoding", async () => {
    await using model = await CogVideoX.open(await damaged("vae", /decoder\.mid_block.*conv1.*weight/, NaN), { gpu, dtype: "f32" });
    await expect(model.generate({ prompt: PROMPT, seed: 1, textures: true })).rejects.toThrow(
      /\[check-finite\] every value must be finite.*in node decoder\.conv_out/,
    );
    await using encoder = await CogVideoX.open(await damaged("vae", /encoder\.mid_block.*conv1.*weight/, NaN), { gpu, dtype: "f32" });
    const video = Array.from({ length: 9 }, () => ({ width: 32, height: 16, data: new Uint8Array(32 * 16 * 3) }));
    await expect(encoder.generate({ prompt: PROMPT, seed: 1, video })).rejects.toThrow(
      /^\[vae\] what the encoder makes of the frames must be finite/,
    );
  });

  it("is found by the VAE alone, in every format", async () => {
    await using vae = await VideoVae.open(await damaged("vae", /coder\.mid_block.*conv1.*weight/, NaN), { gpu, dtype: "f32" });
    const frames = Array.from({ length: 9 }, () => ({ width: 32, height: 16, data: new Uint8Array(32 * 16 * 3) }));
    for (const tiling of ["none", "exact"] as const)
      await expect(vae.encode(frames, { tiling })).rejects.toThrow(/^\[vae\] what the encoder makes of the frames must be finite/);
    await using decoder = await VideoVae.open(await damaged("vae", /decoder\.mid_block.*conv1.*weight/, NaN), { gpu, dtype: "f32" });
    const latents = { data: new Float32Array(3 * 4 * 2 * 4), frames: 3, channels: 4, height: 2, width: 4 };
    for (const tiling of ["none", "exact"] as const)
      await expect(decoder.decode(latents, { tiling })).rejects.toThrow(/must be finite, got .*--check-finite/);
    // What the errors advise can be done, and names the first node of all.
    for (const tiling of ["none", "exact"] as const) {
      await expect(vae.encode(frames, { tiling, checkFinite: true })).rejects.toThrow(
        /^\[check-finite\] .* first in node encoder\.mid_block\S*conv1\S* of vae\.encode/,
      );
      await expect(decoder.decode(latents, { tiling, checkFinite: true })).rejects.toThrow(
        /^\[check-finite\] .* first in node decoder\.mid_block\S*conv1\S* of vae\.decode/,
      );
    }
    const { config } = decoder;
    const weights = tinyWeights("vae", 1);
    weights.get("decoder.conv_in.conv.weight")!.data[0] = NaN;
    using causal = CausalVae.create(gpu, config, { type: () => "f32", stored: (name) => storedValues(name, weights.get(name)!.data) });
    const shape = { batch: 1, frames: 3, height: 2, width: 4 };
    for (const format of ["sample", "frames", "rgba"] as const)
      await expect(causal.decode(latents.data, shape, { format, onFrames: () => undefined }), format).rejects.toThrow(
        /must be finite, got .*--check-finite/,
      );
    await expect(causal.decode(latents.data, shape)).rejects.toThrow(/^\[vae\] decoded frames must be finite/);
  });

  it("is found where f16 overflows in the decoder, though every weight and latent is finite", async ({ skip }) => {
    skip(!gpu.caps.f16, "needs an adapter with shader-f16");
    const large = await tinyCheckpoint({
      edit: (component, weights) => {
        if (component === "vae")
          for (const [name, { data }] of weights)
            if (/decoder\..*norm2\.conv_y\.conv\.weight/.test(name)) for (let i = 0; i < data.length; i++) data[i] = data[i]! * 50_000;
      },
    });
    await using model = await CogVideoX.open(large, { gpu, dtype: "f16" });
    await expect(model.generate({ prompt: PROMPT, seed: 1 })).rejects.toThrow(/must be finite, got .*--check-finite/);
  });

  it("ends the command with 1 and writes nothing", async () => {
    expect(spawnSync(process.execPath, ["build.mjs", "--if-stale"], { cwd: ROOT }).status).toBe(0);
    const bad = await damaged("transformer", /attn1\.to_v\.weight/, NaN);
    const { status, stderr } = spawnSync(
      process.execPath,
      [
        join(ROOT, "dist/launch.js"),
        "generate",
        "--model",
        bad,
        PROMPT,
        "--seed",
        "1",
        "--out",
        "film.mp4",
        "--save-latents",
        "film.safetensors",
      ],
      { cwd: bad, encoding: "utf8" },
    );
    expect(stderr).toMatch(/the latents after step 1 of 4 must be finite.*--check-finite/s);
    expect(status).toBe(1);
    expect(readdirSync(bad).filter((name) => name.startsWith("film"))).toEqual([]);
    // And the way that the message tells leads to the node.
    const looked = spawnSync(
      process.execPath,
      [join(ROOT, "dist/launch.js"), "generate", "--model", bad, PROMPT, "--check-finite", "--out", "film.mp4"],
      { cwd: bad, encoding: "utf8" },
    );
    expect(looked.stderr).toMatch(/\[check-finite\].*first in node transformer_blocks\.0\.attn1/s);
    expect(existsSync(join(bad, "film.mp4"))).toBe(false);
  });
});

describe("what a caller gives", () => {
  it("guidance beyond all numbers is told of, and the state that is kept is the last good one", async () => {
    await using model = await CogVideoX.open(folder, { gpu, dtype: "f32" });
    for (const scheduler of ["ddim", "dpm"] as const) {
      const states: DenoiseState[] = [];
      await expect(
        model.generate({ prompt: PROMPT, seed: 1, guidance: 1e38, scheduler, onStep: (state) => void states.push(state) }),
      ).rejects.toThrow(ADVICE);
      for (const { latents, original } of states)
        expect(latents.every(Number.isFinite) && (original ?? latents).every(Number.isFinite)).toBe(true);
    }
  });

  it("a start that is not finite, or no Float32Array, is refused before anything is loaded", async () => {
    await using model = await CogVideoX.open(folder, { gpu, dtype: "f32" });
    const size = 3 * 4 * 2 * 4;
    const stages: string[] = [];
    const from = (start: unknown) =>
      model.generate({ prompt: PROMPT, seed: 1, start: start as Float32Array, onProgress: (stage) => stages.push(stage) });
    const bad = new Float32Array(size).fill(0, 0);
    bad[7] = NaN;
    await expect(from(bad)).rejects.toThrow(
      `[generate] start must be finite, got NaN or infinity in 1 of ${size} values, first NaN at 7; make it again`,
    );
    await expect(from({ step: 1, latents: bad })).rejects.toThrow(/^\[generate\] latents of start must be finite/);
    await expect(from({ step: 1, latents: new Float32Array(size), original: bad.map(() => -Infinity) })).rejects.toThrow(
      /^\[generate\] original of start must be finite/,
    );
    await expect(from(new Float64Array(size))).rejects.toThrow(
      "[generate] start must be a Float32Array, got Float64Array; convert it with Float32Array.from",
    );
    await expect(from(Array.from(bad))).rejects.toThrow("[generate] start must be a Float32Array, got Array");
    await expect(from({ step: 1, latents: Array.from(bad) })).rejects.toThrow(
      "[generate] latents of start must be a Float32Array, got Array",
    );
    await expect(from(7)).rejects.toThrow("[generate] start must be a Float32Array of noise or the state of a run, got 7");
    expect(stages).toEqual([]);
  });

  it("no file is written that could not be read again", async () => {
    const latents = new Float32Array(2 * 4 * 2 * 4);
    const saved = { state: { step: 1, latents }, shape: [1, 2, 4, 2, 4], settings: {} };
    expect((await readLatents(writeLatents(saved), "x")).state.latents).toEqual(latents);
    for (const name of ["latents", "original", "condition"]) {
      const state = { ...saved.state, [name]: latents.map((v, i) => (i === 3 ? Infinity : v)) };
      expect(() => writeLatents({ ...saved, state }), name).toThrow(
        `[latents] ${name} must be finite, got NaN or infinity in 1 of 64 values, first Infinity at 3`,
      );
    }
    expect(() => writeVideoLatents({ data: latents.fill(NaN), frames: 2, channels: 4, height: 2, width: 4 })).toThrow(
      "[latents] an encoded video's latents must be finite",
    );
  });

  it("frames, images, masks and latents of another array type are refused, not taken as bytes", async () => {
    await using model = await CogVideoX.open(folder, { gpu, dtype: "f32" });
    await using vae = await VideoVae.open(folder, { gpu, dtype: "f32" });
    for (const Type of [Uint16Array, Float32Array, Float64Array, Int8Array, Array]) {
      const frame = {
        width: 32,
        height: 16,
        data: (Type === Array ? Array.from({ length: 1536 }, () => 1) : new (Type as typeof Uint16Array)(1536)) as unknown as Uint8Array,
      };
      const message =
        "a frame's data must be bytes, a Uint8Array or Uint8ClampedArray, " +
        `got ${Type.name}; scale its values to 0 … 255 and convert them`;
      const video = Array.from({ length: 9 }, () => frame);
      await expect(model.generate({ prompt: PROMPT, video })).rejects.toThrow(message);
      // One good frame in front does not open the door.
      await expect(model.generate({ prompt: PROMPT, video: [{ ...frame, data: new Uint8Array(1536) }, ...video] })).rejects.toThrow(
        message,
      );
      await expect(vae.encode(video)).rejects.toThrow(message);
      await expect(encodeVideo(video, { format: "png", fps: 8 })).rejects.toThrow(message);
    }
    const shape = { frames: 3, channels: 4, height: 2, width: 4 };
    for (const data of [new Float64Array(96), new Uint16Array(96), Array.from({ length: 96 }, () => 0)]) {
      await expect(vae.decode({ data: data as unknown as Float32Array, ...shape })).rejects.toThrow("[vae] latents must be a Float32Array");
    }
    const bytes = { width: 32, height: 16, data: Buffer.alloc(1536) };
    await expect(vae.encode(Array.from({ length: 9 }, () => bytes)), "a Buffer is bytes").resolves.toMatchObject({ frames: 3 });
  });
});
