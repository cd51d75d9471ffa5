/** A checkpoint's VAE by itself, through the public calls and the command. */
import { spawnSync } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { memorySource } from "../../src/sources/memory.ts";
import { writeSafetensors } from "../../src/files/safetensors.ts";
import type { Gpu } from "../../src/gpu/gpu.ts";
import { CogVideoX } from "../../src/pipelines/cogvideox/pipeline.ts";
import { writeLatents, writeVideoLatents } from "../../src/pipelines/latents-file.ts";
import { readLatents, readVideoLatents } from "../../src/pipelines/read-latents.ts";
import { framesOf } from "../../src/models/vae/batches.ts";
import { framesThatReturn, VideoVae } from "../../src/pipelines/video-vae.ts";
import { readCase } from "../../src/check/reference/case.ts";
import { decodeVideo } from "../../src/video/decode.ts";
import { encodeVideo } from "../../src/video/encode.ts";
import type { Frame } from "../../src/video/frame.ts";
import type { TilingReport } from "../../src/models/vae/exact/run.ts";
import { relativeL2 } from "../support/compare.ts";
import { testGpu } from "../support/gpu.ts";
import { removeTinyCheckpoints, tinyCheckpoint } from "../support/tiny-checkpoint.ts";

const ROOT = join(import.meta.dirname, "../..");
const EMBEDDED = join(ROOT, "models/moving-shapes");
let gpu: Gpu;
let folder: string;
beforeAll(async () => {
  gpu = await testGpu();
  folder = await mkdtemp(join(tmpdir(), "cogwheel-vae-"));
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
  await removeTinyCheckpoints();
});

/** A clip as the embedded checkpoint knows them: a disc that moves over a ground, RGB. */
function clip(frames: number, size = 64): Frame[] {
  return Array.from({ length: frames }, (_, t) => {
    const data = new Uint8Array(3 * size * size);
    const [cx, cy, r] = [size * (0.35 + (0.3 * t) / Math.max(1, frames - 1)), size / 2, size * 0.22];
    for (let y = 0; y < size; y++)
      for (let x = 0; x < size; x++) {
        const inside = Math.min(1, Math.max(0, r - Math.hypot(x + 0.5 - cx, y + 0.5 - cy) + 0.5));
        data.set([230 * inside, 30 * inside, 30 * inside], 3 * (y * size + x));
      }
    return { width: size, height: size, data };
  });
}

function psnr(got: readonly Frame[], want: readonly Frame[]): number {
  let [sum, count] = [0, 0];
  got.forEach((frame, t) => {
    const [a, b] = [frame.data.length / (frame.width * frame.height), want[t]!.data.length / (frame.width * frame.height)];
    for (let i = 0; i < frame.width * frame.height; i++)
      for (let c = 0; c < 3; c++) [sum, count] = [sum + (frame.data[a * i + c]! - want[t]!.data[b * i + c]!) ** 2, count + 1];
  });
  return 10 * Math.log10(255 ** 2 / (sum / count));
}

describe("encode and decode", () => {
  it("bring a clip there and back, whole and by exact tiling, and as a generation decodes", async () => {
    await using vae = await VideoVae.open(EMBEDDED, { gpu, dtype: "f32" });
    expect(vae.ratio).toEqual({ spatial: 8, temporal: 4 });
    const frames = clip(17);
    const progress: number[] = [];
    const latents = await vae.encode(frames, { onProgress: (done) => progress.push(done) });
    expect(latents).toMatchObject({ frames: 5, channels: 8, height: 8, width: 8 });
    expect(progress.at(-1)).toBe(1);
    const back = await vae.decode(latents);
    expect(back.length).toBe(17);
    expect(psnr(back, frames), "dB").toBeGreaterThan(25);

    let report: TilingReport | undefined;
    const tiled = await vae.encode(frames, {
      tiling: "exact",
      onTiling: (r) => {
        report = r;
      },
    });
    expect(relativeL2(tiled.data, latents.data)).toBeLessThan(1e-5);
    expect(report!.tiles).toBeGreaterThan(2);
    expect(report!.trafficBytes).toBeGreaterThan(0);

    await using model = await CogVideoX.open(EMBEDDED, { gpu, dtype: "f32" });
    const video = await model.generate({ prompt: "a red circle moving left on a black background", seed: 1, steps: 2, frames: 9 });
    const again = await vae.decode({ data: video.state.latents, frames: 3, channels: 8, height: 8, width: 8 });
    expect(again.map(({ data }) => Buffer.from(data).toString("base64"))).toEqual(
      video.frames.map(({ data }) => Buffer.from(data).toString("base64")),
    );
  }, 240_000);

  it("is the reference's encoder, by its mean and by torch's draws", async () => {
    const file = join(ROOT, "test/reference/cases/AutoencoderKLCogVideoX.encode");
    const { readdirSync } = await import("node:fs");
    // A case whose frames come back as many, without tiling: its config and weights as a checkpoint.
    let found = 0;
    for (const name of readdirSync(file)) {
      const c = await readCase(new Uint8Array(await readFile(join(file, name))), name);
      const x = c.inputs.get("x")!;
      const [batch, , t, h, w] = x.shape as [number, number, number, number, number];
      const ratio = 2 ** ((c.config["block_out_channels"] as number[]).length - 1);
      if (
        batch !== 1 ||
        c.options["tiling"] ||
        framesThatReturn(t, c.config["temporal_compression_ratio"] as number) !== t ||
        h % ratio ||
        w % ratio
      )
        continue;
      found++;
      const want = c.outputs.get("mean")!;
      // Frames are bytes; the case's values are not, so they go in by the posterior's own door, and bytes by this one.
      const bytes = Array.from({ length: t }, (_, f) => ({
        width: w,
        height: h,
        data: Uint8Array.from({ length: 3 * h * w }, (_, i) =>
          Math.round((Math.min(1, Math.max(-1, x.data[((i % 3) * t + f) * h * w + Math.floor(i / 3)]!)) + 1) * 127.5),
        ),
      }));
      expect(bytes.length).toBe(t);
      const decoder = [...(await decoderWeights(c.config))];
      const source = memorySource({
        "model_index.json": JSON.stringify({ _class_name: "CogVideoXPipeline", vae: ["diffusers", "AutoencoderKLCogVideoX"] }),
        "vae/config.json": JSON.stringify(c.config),
        "vae/diffusion_pytorch_model.safetensors": writeSafetensors(
          Object.fromEntries([
            ...[...c.weights].map(
              ([key, tensor]) => [key, { dtype: "F32" as const, shape: [...tensor.shape], data: tensor.data }] as const,
            ),
            ...decoder,
          ]),
        ),
      });
      await using vae = await VideoVae.open(source, { gpu, dtype: "f32" });
      const scale = vae.config.scaling_factor;
      const mean = await vae.encode(bytes);
      const drawn = await vae.encode(bytes, { seed: 7 });
      expect([1, mean.channels, mean.frames, mean.height, mean.width]).toEqual([...want.shape]);
      const { CausalVae } = await import("../../src/models/vae/model.ts");
      const { caseWeights } = await import("../../src/check/reference/case.ts");
      const { fitFrames } = await import("../../src/video/fit.ts");
      const { TorchGenerator } = await import("../../src/diffusion/torch-random.ts");
      using direct = CausalVae.create(gpu, vae.config, caseWeights(c, "f32"));
      const posterior = await direct.encode(fitFrames(bytes, { width: w, height: h }), { batch: 1, frames: t, height: h, width: w });
      const order = (z: Float32Array) =>
        Float32Array.from({ length: z.length }, (_, i) => {
          // [F, C, h, w] ← [C, F, h, w]
          const plane = mean.height * mean.width;
          const [f, k, p] = [Math.floor(i / (mean.channels * plane)), Math.floor(i / plane) % mean.channels, i % plane];
          return z[(k * mean.frames + f) * plane + p]! * scale;
        });
      expect(relativeL2(mean.data, order(posterior.mode()))).toBe(0);
      expect(relativeL2(drawn.data, order(posterior.sample(new TorchGenerator(7).randn([...posterior.shape]))))).toBe(0);
    }
    expect(found, "cases that fit").toBeGreaterThan(0);
  }, 120_000);

  it("says which frames, sizes and channels are wrong", async () => {
    expect([1, 2, 7, 8, 9, 10, 16, 17, 20, 49, 81].map((n) => framesThatReturn(n, 4))).toEqual([1, 1, 1, 8, 9, 9, 16, 17, 17, 49, 81]);
    await using vae = await VideoVae.open(EMBEDDED, { gpu, dtype: "f32" });
    await expect(vae.encode([])).rejects.toThrow("[vae] a video must have at least one frame, got none");
    await expect(vae.encode(clip(9), { frames: 12 })).rejects.toThrow(/makes 8·k or 8·k \+ 1 frames, got 12/);
    await expect(vae.encode(clip(9), { frames: 17 })).rejects.toThrow(
      "[vae] the video must have the 17 frames that are asked for, got 9; ask for fewer",
    );
    await expect(vae.encode(clip(1), { width: 60 })).rejects.toThrow(/height and width of a video must be multiples of 8, got 64 × 60/);
    await expect(vae.decode({ data: new Float32Array(64), frames: 1, channels: 1, height: 8, width: 8 })).rejects.toThrow(
      "[vae] latents must have this VAE's 8 channels, got 1; decode them with the VAE that they are of",
    );
    await expect(vae.decode({ data: new Float32Array(7), frames: 1, channels: 8, height: 8, width: 8 })).rejects.toThrow(
      "[vae] latents [1, 8, 8, 8] must have 512 values, got 7; check their size",
    );
    await expect(vae.encode(clip(1), { signal: AbortSignal.abort(new Error("enough")) })).rejects.toThrow("enough");
    await expect(vae.encode(clip(1), { seed: 1.5 })).rejects.toThrow(
      "[vae] a seed must be a whole number up to 2^53 − 1, got 1.5; leave it out for the posterior's mean",
    );
    await expect(vae.encode(clip(1), { widht: 64 } as never)).rejects.toThrow(
      /^\[vae\] options must be among .*, got "widht"; did you mean width\?/,
    );
    await expect(VideoVae.open(EMBEDDED, { gpu, dtype: "bf16" as never })).rejects.toThrow(
      '[vae] dtype must be f32 or f16, got "bf16"; leave it out',
    );
    expect([1, 2, 3, 5, 13].map((n) => framesOf(n, vae.config))).toEqual([1, 8, 9, 17, 49]);
    await expect(vae.encode(clip(1), { tiling: "half" as never })).rejects.toThrow(
      '[vae] tiling must be none, exact, reference, got "half"',
    );
  });
});

describe("reference tiling", () => {
  it("is refused where its tiles do not come to the whole", async () => {
    await using vae = await VideoVae.open(await tinyCheckpoint({ configs: { vae: { sample_height: 64, sample_width: 64 } } }), {
      gpu,
      dtype: "f32",
    });
    const latents = { data: new Float32Array(4 * 8 * 8), frames: 1, channels: 4, height: 8, width: 8 };
    await expect(vae.decode(latents, { tiling: "reference" })).rejects.toThrow(
      "[vae] reference tiling of this VAE gives 68 × 70 pixels in place of 64 × 64, for its overlaps do not come out even; " +
        "choose another size or tiling exact",
    );
    expect((await vae.decode(latents, { tiling: "exact" }))[0]).toMatchObject({ width: 64, height: 64 });
  });
});

describe("files of latents", () => {
  it("keep a video's latents apart from a run's, and drop what 1.5 models pad in front", async () => {
    const latents = { data: Float32Array.from({ length: 3 * 4 * 2 * 2 }, (_, i) => i), frames: 3, channels: 4, height: 2, width: 2 };
    const file = writeVideoLatents(latents, { fps: 12 });
    expect(await readVideoLatents(file, "f", 4)).toEqual({ videos: [latents], fps: 12 });
    await expect(readLatents(file, "f")).rejects.toThrow(/^\[latents\] f: the latents must be those of a run, got an encoded video's; /);
    const padded = writeLatents({
      state: { step: 4, latents: Float32Array.from({ length: 2 * 4 * 16 }, (_, i) => i) },
      shape: [2, 4, 4, 2, 2],
      settings: { frames: 9, fps: 16 },
    });
    const { videos, fps } = await readVideoLatents(padded, "f", 4);
    expect(fps).toBe(16);
    expect(videos.map(({ frames, data }) => [frames, data[0], data.length])).toEqual([
      [3, 16, 48],
      [3, 80, 48],
    ]);
  });
});

describe("cogwheel vae", () => {
  const cogwheel = (...args: string[]) => {
    const { status, stdout, stderr } = spawnSync(process.execPath, [join(ROOT, "dist/launch.js"), "vae", ...args], {
      cwd: folder,
      encoding: "utf8",
    });
    return { status, out: stdout.trimEnd().split("\n"), err: stderr };
  };
  beforeAll(async () => {
    expect(spawnSync(process.execPath, ["build.mjs", "--if-stale"], { cwd: ROOT }).status).toBe(0);
    await encodeVideo(clip(11, 80), { path: join(folder, "in.mp4"), fps: 12 });
    await writeFile(
      join(folder, "z.safetensors"),
      writeVideoLatents({ data: new Float32Array(3 * 8 * 64), frames: 3, channels: 8, height: 8, width: 8 }),
    );
  });

  it("encodes a real file and decodes it again", async () => {
    const frames = clip(11, 80);
    const encoded = cogwheel("encode", "in.mp4", "--out", "z.safetensors", "--size", "64x64", "--tiling", "exact");
    expect(encoded.status, encoded.err).toBe(0);
    expect(encoded.err).toMatch(/11 frames; the first 9 are encoded, for as many come back \(8·k or 8·k \+ 1\)/);
    expect(encoded.err).toMatch(
      /exact tiling: \d+ tiles, \d+ MB of activations on the adapter and \d+ MB on the host at most, \d+ MB moved/,
    );
    const { scaling_factor: factor } = JSON.parse(await readFile(join(EMBEDDED, "vae/config.json"), "utf8")) as { scaling_factor: number };
    expect(encoded.out.at(-2)).toBe(`9 frames of 80×80, taken at 64×64 → latents [1, 3, 8, 8, 8], the posterior's mean, times ${factor}`);
    expect(encoded.out.at(-1)).toBe(join(folder, "z.safetensors"));
    const decoded = cogwheel("decode", "z.safetensors", "--out", "back.mp4", "--check-finite");
    expect(decoded.status, decoded.err).toBe(0);
    expect(decoded.out.at(-1)).toBe(join(folder, "back.mp4"));
    const back = await decodeVideo(join(folder, "back.mp4"));
    expect([back.frames.length, back.width, back.height, Math.round(back.fps!)]).toEqual([9, 64, 64, 12]);
    const { fitFrame } = await import("../../src/video/fit.ts");
    expect(
      psnr(
        back.frames,
        frames.map((frame) => fitFrame(frame, { width: 64, height: 64 })),
      ),
      "dB, through two codecs",
    ).toBeGreaterThan(22);
  }, 120_000);

  it("says what is wrong without a trace of the stack, and writes nothing", async () => {
    await writeFile(join(folder, "not-a-video.mp4"), "not a video");
    for (const [args, message, exit] of [
      [["encode", "missing.mp4", "--out", "x.safetensors"], /missing\.mp4/, 1],
      [
        ["encode", "not-a-video.mp4", "--out", "x.safetensors"],
        /^\[video\] not-a-video\.mp4 must be a film or a picture that can be read here, got text \("not a video"\)/m,
        1,
      ],
      [["encode", "in.mp4", "--out", "x.safetensors", "--frames", "5"], /8·k or 8·k \+ 1 frames, got 5/, 2],
      [["encode", "in.mp4", "--out", "x.safetensors", "--size", "60x64"], /multiples of 8, got 64 × 60/, 2],
      [["decode", "not-a-video.mp4", "--out", "x.gif"], /not-a-video\.mp4/, 3],
      [["decode", "z.safetensors", "--out", "x.avi"], /^\[output\] the output must end in \.mp4/m, 2],
      [["decode", "z.safetensors", "--out", "x.png"], /^\[output\] a \.png holds one picture, got 9 frames/m, 1],
      [["decode", "z.safetensors"], /required option '--out <path>'/, 2],
    ] as const) {
      const { status, err } = cogwheel(...args);
      expect(status, args.join(" ")).toBe(exit);
      expect(err).toMatch(message);
      expect(err).not.toMatch(/\n\s+at /);
    }
    const { existsSync } = await import("node:fs");
    expect([existsSync(join(folder, "x.safetensors")), existsSync(join(folder, "x.gif"))]).toEqual([false, false]);
  }, 120_000);
});

/** Weights that an encoder's case does not have: zeros, for a checkpoint must be whole. */
async function decoderWeights(config: Record<string, unknown>) {
  const { parseVaeConfig } = await import("../../src/models/vae/config.ts");
  const { vaeWeights } = await import("../../src/models/vae/batches.ts");
  return [...vaeWeights(parseVaeConfig(config), ["decode"])].map(
    ([name, shape]) =>
      [name, { dtype: "F32" as const, shape: [...shape], data: new Float32Array(shape.reduce((a, b) => a * b, 1)) }] as const,
  );
}
