/** Generations within a limit of memory: the same bytes as without, of less, and a refusal that says how much would do. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { CogVideoX } from "../../src/pipelines/cogvideox/pipeline.ts";
import type { Settings } from "../../src/pipelines/settings.ts";
import type { StageMemory } from "../../src/pipelines/requirements.ts";
import type { RgbaFrame } from "../../src/video/frame.ts";
import { cramp } from "../support/cramped.ts";
import { limitedGpu } from "../support/gpu.ts";
import { removeTinyCheckpoints, tinyCheckpoint } from "../support/tiny-checkpoint.ts";

/** Layers that take more than the VAE. */
const configs = {
  text_encoder: { d_model: 128, d_ff: 512, num_layers: 6, num_heads: 16 },
  transformer: { num_attention_heads: 4, num_layers: 6, text_embed_dim: 128 },
};
const options = { prompt: "a red circle", seed: 5, steps: 2 } as const;
let folder: string;
beforeAll(async () => {
  folder = await tinyCheckpoint({ shaped: true, configs });
});
afterAll(removeTinyCheckpoints);

const peakOf = (stages: readonly StageMemory[]): number => Math.max(...stages.map(({ peak }) => peak));

/** A generation on a device of its own, and the most that was allocated on it. */
async function made(memoryBytes?: number, size: Partial<Settings> = {}) {
  await using gpu = await limitedGpu({});
  await using model = await CogVideoX.open(folder, { gpu, dtype: "f32", ...(memoryBytes === undefined ? {} : { memoryBytes }) });
  const request = await model.prepare({ ...options, ...size });
  const video = await model.generate(request);
  return { requirements: request.requirements, tiling: request.tiling, video, peak: gpu.memory.peak };
}

describe("a limit of memory", () => {
  it("is kept, and changes no byte", async () => {
    const free = await made();
    const whole = peakOf(free.requirements);
    expect(free.peak).toBeLessThanOrEqual(whole);
    let resident = Infinity;
    for (const share of [0.8, 0.55, 0.4]) {
      const limit = Math.floor(share * whole);
      const { requirements, video, peak } = await made(limit);
      expect(peakOf(requirements)).toBeLessThanOrEqual(limit);
      expect(peak, `${share} of the memory`).toBeLessThanOrEqual(limit);
      const [text, transformer] = ["text encoder", "transformer"].map((name) => requirements.find(({ stage }) => stage === name)!);
      expect(text!.residence!.resident + transformer!.residence!.resident).toBeLessThan(resident);
      resident = text!.residence!.resident + transformer!.residence!.resident;
      expect(video.state.latents).toEqual(free.video.state.latents);
      expect(video.frames.map(({ data }) => data)).toEqual(free.video.frames.map(({ data }) => data));
    }
  });

  it("that is too small is refused with the smallest that would do, which does", async () => {
    await using gpu = await limitedGpu({});
    await using model = await CogVideoX.open(folder, { gpu, dtype: "f32" });
    const refusal = await model.prepare({ ...options, memoryBytes: 10_000 }).then(
      () => "none",
      (error: Error) => error.message,
    );
    const [, least] =
      /^\[generate\] the [\w ]+ takes .* of the adapter's memory \(weights .*, activations .*\), got a limit of 0\.0 MB in memoryBytes; the smallest that would do is ([\d.]+) MB, or choose a smaller size/.exec(
        refusal,
      )!;
    const { requirements } = await model.prepare({ ...options, memoryBytes: Number(least) * 1e6 });
    expect(peakOf(requirements)).toBeLessThanOrEqual(Number(least) * 1e6);
    await model.generate({ ...options, memoryBytes: Number(least) * 1e6 });
    expect(gpu.memory.peak).toBeLessThanOrEqual(Number(least) * 1e6);
    await expect(model.prepare({ ...options, memoryBytes: (Number(least) - 0.11) * 1e6 })).rejects.toThrow(refusal.slice(-60));
  });

  it("of a generation is its own, before that of the model", async () => {
    await using gpu = await limitedGpu({});
    await using model = await CogVideoX.open(folder, { gpu, dtype: "f32", memoryBytes: 10_000 });
    await expect(model.prepare(options)).rejects.toThrow("got a limit of 0.0 MB");
    expect((await model.prepare({ ...options, memoryBytes: 1e9 })).requirements.every(({ streamed }) => streamed === 0)).toBe(true);
    expect(peakOf(model.requirements({ memoryBytes: 1e9 }))).toBeGreaterThan(peakOf(model.requirements({ memoryBytes: 10_000 })));
    for (const memoryBytes of [0, -1, 1.5, Number.NaN, "4GB" as unknown as number])
      await expect(model.prepare({ ...options, memoryBytes })).rejects.toThrow(
        "[generate] memoryBytes must be a whole number of bytes above 0, got",
      );
    await expect(CogVideoX.open(folder, { gpu, memoryBytes: -1 })).rejects.toThrow("memoryBytes must be a whole number of bytes above 0");
  });

  it("beside parts that are kept is for all of them, and says so", async () => {
    await using gpu = await limitedGpu({});
    await using model = await CogVideoX.open(folder, { gpu, dtype: "f32", keep: true });
    const alone = peakOf(model.requirements());
    await expect(model.prepare({ ...options, memoryBytes: alone + 1000 })).rejects.toThrow(
      "leave out keep, so that one part is there at a time",
    );
  });
});

describe("an adapter that runs out of memory", () => {
  /** A generation on an adapter with so much memory, of which nobody was told. */
  async function cramped(bytes: number, from = 0, size: Partial<Settings> = {}) {
    await using gpu = await limitedGpu({});
    let failures = from ? () => 0 : cramp(gpu, bytes);
    await using model = await CogVideoX.open(folder, { gpu, dtype: "f32" });
    const [warnings, steps]: [string[], number[]] = [[], []];
    const video = await model.generate({
      ...options,
      ...size,
      onWarning: (message) => warnings.push(message),
      onStep: ({ step }) => {
        steps.push(step);
        if (step === from) failures = cramp(gpu, bytes);
      },
    });
    const before = failures();
    if (!from) await model.generate({ ...options, seed: 6 });
    return { video, warnings, steps, failures: before, later: failures() - before };
  }

  it("gets a plan that fits, with one warning, and the same video", async () => {
    const free = await made();
    const { video, warnings, steps, failures, later } = await cramped(0.6 * free.peak);
    expect(failures).toBeGreaterThan(0);
    expect(warnings).toEqual([
      expect.stringMatching(
        /^\[generate\] the adapter ran out of memory with [\d.]+ MB; the generation is planned within less and goes on from step 0; say how much/,
      ),
    ]);
    expect(steps).toEqual([1, 2]);
    expect(later, "the next generation knows it").toBe(0);
    expect(video.state.latents).toEqual(free.video.state.latents);
    expect(video.frames.map(({ data }) => data)).toEqual(free.video.frames.map(({ data }) => data));
  });

  it("after the last step decodes what there is, and makes no step again", async () => {
    const size = { width: 96, height: 64 };
    const free = await made(undefined, size);
    const { total } = free.requirements.find(({ stage }) => stage === "decoder")!;
    const { video, warnings, steps, failures } = await cramped(0.6 * total, 2, size);
    expect(failures).toBeGreaterThan(0);
    expect(steps).toEqual([1, 2]);
    expect(warnings).toEqual([expect.stringMatching(/goes on from step 2; say how much/)]);
    expect(video.state.latents).toEqual(free.video.state.latents);
    // Exact tiling sums a norm's statistics in another order.
    const levels = (frames: readonly RgbaFrame[]) => frames.flatMap(({ data }) => [...data]);
    const [want, got] = [levels(free.video.frames), levels(video.frames)];
    expect(got.length).toBe(want.length);
    expect(got.reduce((most, v, i) => Math.max(most, Math.abs(v - want[i]!)), 0)).toBeLessThanOrEqual(1);
  });

  it("and has too little for anything is told so", async () => {
    await expect(cramped(50_000)).rejects.toThrow(/^\[gpu\] the adapter is out of memory in preparing/);
  });
});
