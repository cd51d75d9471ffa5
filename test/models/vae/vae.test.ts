import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { parseVaeConfig } from "../../../src/models/vae/config.ts";
import { decodedFrames, encodedFrames, frameBatches, planVae, vaeWeights } from "../../../src/models/vae/batches.ts";
import { LatentPosterior } from "../../../src/models/vae/posterior.ts";
import { CausalVae, type DecodedFrames } from "../../../src/models/vae/model.ts";
import { readCase } from "../../../src/check/reference/case.ts";
import { complaint, runCase } from "../../../src/check/reference/run.ts";
import { relativeL2, values } from "../../support/compare.ts";
import { limitedGpu, memoryWeights, testGpu } from "../../support/gpu.ts";
import { smallVae, smallVaeWeights } from "../../support/small-vae.ts";

const config = smallVae();

const randomWeights = () => memoryWeights(smallVaeWeights(config));

describe("config", () => {
  test("has the published defaults", () => {
    expect(parseVaeConfig({})).toMatchObject({
      block_out_channels: [128, 256, 256, 512],
      latent_channels: 16,
      norm_num_groups: 32,
      scaling_factor: 1.15258426,
    });
  });
  test.each([
    [{ act_fn: "gelu" }, /vae\/config.json: act_fn must be "silu", got "gelu"/],
    [{ use_quant_conv: true }, /use_quant_conv must be false, got true/],
    [{ block_out_channels: [16, 20] }, /block_out_channels must be multiples of norm_num_groups \(32\), got \[16,20\]/],
    [{ block_out_channels: [] }, /block_out_channels must be a list/],
    [{ temporal_compression_ratio: 3 }, /temporal_compression_ratio must be a power of two up to 16, got 3/],
    [{ latent_channels: -1 }, /latent_channels must be a whole number from 1 to 4096, got -1/],
    [{ scaling_factor: "0.7" }, /scaling_factor must be a number above 0/],
    [{ _class_name: "AutoencoderKL" }, /_class_name must be "AutoencoderKLCogVideoX", got "AutoencoderKL"/],
    [{ latents_mean: [1] }, /latents_mean must be null/],
    [[], /the config must be a JSON object/],
  ])("%j is refused", (json, message) => expect(() => parseVaeConfig(json)).toThrow(message));
});

test("the published VAE has its 215,583,907 parameters under their names", () => {
  const count = (part: "encode" | "decode") =>
    [...vaeWeights(parseVaeConfig({}), [part]).values()].reduce((n, shape) => n + shape.reduce((a, b) => a * b, 1), 0);
  expect(count("encode")).toBe(92_215_456);
  expect(count("decode")).toBe(123_368_451);
  const weights = vaeWeights(parseVaeConfig({}));
  expect(weights.get("encoder.down_blocks.1.resnets.0.conv_shortcut.weight")).toEqual([256, 128, 1, 1, 1]);
  expect(weights.get("decoder.up_blocks.3.resnets.3.norm2.conv_y.conv.bias")).toEqual([128]);
  expect(weights.get("encoder.down_blocks.0.downsamplers.0.conv.weight")).toEqual([128, 128, 3, 3]);
});

test("batches of frames are the reference's", () => {
  const sizes = (n: number, size: number) =>
    frameBatches(n, size)
      .map((b) => `${b.start}+${b.frames}`)
      .join(" ");
  expect(sizes(13, 2)).toBe("0+3 3+2 5+2 7+2 9+2 11+2");
  expect(sizes(4, 2)).toBe("0+2 2+2");
  expect(sizes(1, 2)).toBe("0+1");
  expect(sizes(49, 8)).toBe("0+9 9+8 17+8 25+8 33+8 41+8");
  expect(sizes(14, 8)).toBe("0+14");
  expect(sizes(5, 8)).toBe("0+5");
  const published = parseVaeConfig({});
  expect([1, 2, 3].map((n) => decodedFrames(published, n))).toEqual([1, 8, 9]);
  expect([1, 8, 9, 14, 5].map((n) => encodedFrames(published, n))).toEqual([1, 2, 3, 4, 2]);
});

test("the posterior is split, clamped and sampled", () => {
  const posterior = LatentPosterior.fromMoments(Float32Array.from([1, 2, 30, -40, 5, 6, 0.5, -0.5]), [2, 2, 1, 1, 2]);
  expect([...posterior.mean]).toEqual([1, 2, 5, 6]);
  expect([...posterior.logvar]).toEqual([20, -30, 0.5, -0.5]);
  expect(posterior.shape).toEqual([2, 1, 1, 1, 2]);
  expect(posterior.mode()).toBe(posterior.mean);
  const sample = posterior.sample(Float32Array.from([0, 1, 2, -1]));
  const want = [1, 2 + Math.exp(-15), 5 + 2 * Math.exp(0.25), 6 - Math.exp(-0.25)];
  for (const [i, value] of want.entries()) expect(sample[i]).toBeCloseTo(value, 5);
  expect(() => posterior.sample(new Float32Array(3))).toThrow(/\[vae\] the noise must have the latents' 4 values \[2, 1, 1, 1, 2\], got 3/);
});

test("memory is known before anything is loaded", async () => {
  const { caps } = await testGpu();
  const plans = planVae(
    parseVaeConfig({}),
    { ...caps, maxBindingBytes: 2 ** 31, maxBufferBytes: 2 ** 33 },
    { part: "decode", batch: 1, frames: 13, height: 60, width: 90 },
  );
  expect(plans.length).toBe(2);
  // 315 TFLOP for 49 frames of 480 × 720, counted from shapes: the first batch makes 9 of them, each other 8.
  expect((plans[0]!.cost.flops + 5 * plans[1]!.cost.flops) / 1e12).toBeCloseTo(315, -1);
  expect(plans[0]!.bytes.activations).toBeGreaterThanOrEqual(plans[0]!.bytes.lowerBound);
});

test("no dispatch keeps a slow GPU for a second", async () => {
  const { caps } = await testGpu();
  const large = { ...caps, kind: "hardware" as const, maxBindingBytes: 2 ** 31, maxBufferBytes: 2 ** 33 };
  for (const plan of planVae(parseVaeConfig({}), large, { part: "decode", batch: 1, frames: 13, height: 60, width: 90 })) {
    expect(Math.max(...plan.steps.map((s) => s.cost.flops))).toBeLessThan(4.1e11);
  }
});

describe("decoding in batches", () => {
  const shape = { batch: 1, frames: 7, height: 4, width: 6 };
  const latents = values(5 * 7 * 4 * 6, 3);

  test("gives frames as they come, in every format, and the same each time", async () => {
    using vae = CausalVae.create(await testGpu(), config, randomWeights());
    const { data: whole, shape: size } = await vae.decode(latents, shape);
    expect(size).toEqual([1, 3, 13, 8, 12]);
    expect(whole.every(Number.isFinite)).toBe(true);
    expect((await vae.decode(latents, shape)).data).toEqual(whole);

    const parts: DecodedFrames[] = [];
    const rest = await vae.decode(latents, shape, { format: "rgba", onFrames: (part) => void parts.push(part) });
    expect(rest.data.length).toBe(0);
    expect(parts.map((p) => [p.start, p.frames, p.height, p.width])).toEqual([
      [0, 5, 8, 12],
      [5, 4, 8, 12],
      [9, 4, 8, 12],
    ]);
    const plane = 8 * 12;
    for (const { start, frames, data } of parts) {
      for (let i = 0; i < frames * plane; i++)
        for (let c = 0; c < 3; c++) {
          const v = Math.min(1, Math.max(0, whole[(c * 13 + start) * plane + i]! / 2 + 0.5));
          expect(Math.abs(data[4 * i + c]! - v * 255)).toBeLessThan(0.502);
        }
    }
  });

  test("is causal: later latents change no earlier batch", async () => {
    using vae = CausalVae.create(await testGpu(), config, randomWeights());
    const other = latents.slice();
    for (let c = 0; c < 5; c++) for (let i = 5 * 24; i < 7 * 24; i++) other[c * 7 * 24 + i]! += 1;
    const [a, b] = [(await vae.decode(latents, shape)).data, (await vae.decode(other, shape)).data];
    const frame = (x: Float32Array, t: number) => x.subarray(t * 96, (t + 1) * 96);
    for (let t = 0; t < 9; t++) expect(frame(a, t)).toEqual(frame(b, t));
    expect(frame(a, 9)).not.toEqual(frame(b, 9));
  });

  test("stops when told to, and goes on afterwards", async () => {
    using vae = CausalVae.create(await testGpu(), config, randomWeights());
    const controller = new AbortController();
    const seen: number[] = [];
    await expect(
      vae.decode(latents, shape, { signal: controller.signal, onFrames: ({ start }) => (seen.push(start), controller.abort()) }),
    ).rejects.toThrow(/abort/i);
    expect(seen).toEqual([0]);
    expect((await vae.decode(latents, shape)).data.every(Number.isFinite)).toBe(true);
  });

  test("frees all memory", async () => {
    const gpu = await testGpu();
    const before = gpu.memory.allocated;
    {
      using vae = CausalVae.create(gpu, config, randomWeights());
      await vae.decode(latents, shape);
      await vae.encode(values(3 * 3 * 8 * 8, 1), { batch: 1, frames: 3, height: 8, width: 8 });
      expect(gpu.memory.allocated).toBeGreaterThan(before);
    }
    expect(gpu.memory.allocated).toBe(before);
  });

  test("several videos at once are several videos", async () => {
    using vae = CausalVae.create(await testGpu(), config, randomWeights());
    const two = { ...shape, batch: 2, frames: 4 };
    const z = values(2 * 5 * 4 * 24, 8);
    const both = (await vae.decode(z, two)).data;
    for (const i of [0, 1]) {
      const one = (await vae.decode(z.slice((i * z.length) / 2, ((i + 1) * z.length) / 2), { ...two, batch: 1 })).data;
      expect(relativeL2(both.subarray((i * both.length) / 2, ((i + 1) * both.length) / 2), one)).toBeLessThan(1e-6);
    }
  });
});

test("sizes that do not fit are refused by name", async () => {
  using vae = CausalVae.create(await testGpu(), config, randomWeights());
  await expect(vae.encode(new Float32Array(3 * 7 * 8), { batch: 1, frames: 1, height: 7, width: 8 })).rejects.toThrow(
    /\[vae\] height and width of a video must be multiples of 2, got 7 × 8/,
  );
  await expect(vae.decode(new Float32Array(3), { batch: 1, frames: 1, height: 1, width: 1 })).rejects.toThrow(
    /\[vae\] decode takes \[1, 5, 1, 1, 1\] = 5 values, got 3/,
  );
});

// The committed cases, with bindings that hold 7 of 9 frames: the largest tensors are worked on in windows.
describe.each(["software", "hardware"] as const)("in windows, %s kernels", (kind) => {
  test.each(["AutoencoderKLCogVideoX.decode/5f_deep", "AutoencoderKLCogVideoX.encode/17f"])("%s", async (name) => {
    await using gpu = await limitedGpu({ maxBindingBytes: 14 * 1024, kind, immediates: false, maxGrid: 400 });
    const bytes = readFileSync(join(import.meta.dirname, `../../reference/cases/${name}.safetensors`));
    expect(complaint(await runCase(gpu, await readCase(new Uint8Array(bytes), name)))).toBe("");
  });
});
