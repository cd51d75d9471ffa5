/** Several prompts in one call, overall progress, and diffusers' names for options. */
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import type { Gpu } from "../../src/gpu/gpu.ts";
import { Denoiser } from "../../src/models/cogvideox/model.ts";
import { T5Encoder } from "../../src/models/t5/model.ts";
import { CogVideoX } from "../../src/pipelines/cogvideox/pipeline.ts";
import type { PromptsOptions } from "../../src/pipelines/cogvideox/prompts.ts";
import type { GenerateOptions } from "../../src/pipelines/options.ts";
import { DIFFUSERS_NAMES } from "../../src/pipelines/options/diffusers-names.ts";
import { Overall, type OverallProgress } from "../../src/pipelines/overall.ts";
import type { Video } from "../../src/pipelines/video.ts";
import { limitedGpu } from "../support/gpu.ts";
import { removeTinyCheckpoints, tinyCheckpoint } from "../support/tiny-checkpoint.ts";

const PROMPTS = ["a red circle moving left", "a blue square", "a green triangle growing"];
const OPTIONS = { seed: 3, frames: 1, cache: false };
const bytes = ({ frames }: Video): string => Buffer.concat(frames.map((f) => f.data)).toString("base64");

let gpu: Gpu;
let folder: string;
let alone: string[];
beforeAll(async () => {
  gpu = await limitedGpu({});
  folder = await tinyCheckpoint();
  await using model = await CogVideoX.open(folder, { gpu, dtype: "f32" });
  alone = [];
  for (const prompt of PROMPTS) alone.push(bytes(await model.generate({ ...OPTIONS, prompt })));
});
afterEach(() => void vi.restoreAllMocks());
afterAll(async () => {
  await gpu[Symbol.asyncDispose]();
  await removeTinyCheckpoints();
});

describe("prompts", () => {
  it("give the videos of calls of their own, in order, and load each part once", async () => {
    await using model = await CogVideoX.open(folder, { gpu, dtype: "f32", memoryBytes: 1e9 });
    const created = [vi.spyOn(T5Encoder, "create"), vi.spyOn(Denoiser, "create")];
    const told: OverallProgress[] = [];
    const words = new Set<string>();
    const run = model.generate({
      ...OPTIONS,
      prompts: PROMPTS,
      onProgress: (stage, done, detail, overall) => {
        if (overall) told.push(overall);
        if (stage === "denoise" && done > 0) words.add(detail!.replace(/, step .*/, ""));
      },
    });
    const seen: string[] = [];
    for await (const video of run) seen.push(video.settings.prompt);
    expect(seen).toEqual(PROMPTS);
    expect((await run).map(bytes)).toEqual(alone);
    for (const create of created) expect(create).toHaveBeenCalledTimes(1);
    expect([...words]).toEqual(["video 1 of 3", "video 2 of 3", "video 3 of 3"]);
    const shares = told.map(({ overall }) => overall);
    expect(shares).toEqual([...shares].sort((a, b) => a - b));
    expect(shares.at(-1)).toBe(1);
    expect(told.at(-1)).toMatchObject({ video: 3, videos: 3 });
    expect(gpu.memory.allocated, "nothing stays").toBe(0);
  });

  it("keep within the memory that there is: parts come and go where both have no room", async () => {
    await using model = await CogVideoX.open(folder, { gpu, dtype: "f32" });
    const memoryBytes = model.leastMemoryBytes(OPTIONS);
    const created = vi.spyOn(Denoiser, "create");
    const videos = await model.generate({ ...OPTIONS, prompts: PROMPTS.slice(0, 2), memoryBytes });
    expect(videos.map(bytes)).toEqual(alone.slice(0, 2));
    expect(created).toHaveBeenCalledTimes(2);
    expect(gpu.memory.allocated).toBe(0);
  });

  it("take one turn, and what comes after waits", async () => {
    await using model = await CogVideoX.open(folder, { gpu, dtype: "f32" });
    const order: string[] = [];
    const several = model.generate({ ...OPTIONS, prompts: PROMPTS.slice(0, 2) }).then(() => order.push("several"));
    const single = model.generate({ ...OPTIONS, prompt: PROMPTS[2]! }).then((video) => {
      order.push("single");
      expect(bytes(video)).toBe(alone[2]);
    });
    await Promise.all([several, single]);
    expect(order).toEqual(["several", "single"]);
  });

  it("are stopped by the signal; the loop has what was made before", async () => {
    await using model = await CogVideoX.open(folder, { gpu, dtype: "f32" });
    const controller = new AbortController();
    const seen: Video[] = [];
    const failed = await (async () => {
      for await (const video of model.generate({ ...OPTIONS, prompts: PROMPTS, signal: controller.signal })) {
        seen.push(video);
        controller.abort(new Error("enough"));
      }
    })().catch((error: Error) => error.message);
    expect(failed).toContain("enough");
    expect(seen.map(bytes)).toEqual(alone.slice(0, 1));
    expect(gpu.memory.allocated).toBe(0);
  });

  it.each([
    [{ prompts: [] }, "prompts must be a list of texts in place of prompt, got []"],
    [{ prompts: "a cat" }, 'got "a cat"'],
    [{ prompts: ["a cat"], prompt: "a dog" }, "got both"],
    [{ prompts: ["a cat", ""] }, 'the prompt must not be empty, got ""'],
    [{ prompts: ["a cat"], start: new Float32Array(4) }, "got start too, which is of one"],
    [{ prompts: ["a cat"], onStep: () => undefined }, "got onStep too, which is of one"],
    [{ prompts: ["a cat"], stepps: 4 }, 'got "stepps"'],
  ])("refuse %j before anything is loaded", async (options, rule) => {
    await using model = await CogVideoX.open(folder, { gpu, dtype: "f32" });
    await expect(model.generate(options as unknown as PromptsOptions)).rejects.toThrow(rule);
    expect(gpu.memory.allocated).toBe(0);
  });
});

it.each(Object.entries(DIFFUSERS_NAMES))("%s, as diffusers calls it, is refused with our name for it", async (theirs, ours) => {
  await using model = await CogVideoX.open(folder, { gpu, dtype: "f32" });
  await expect(model.prepare({ prompt: "a cat", [theirs]: 1 } as GenerateOptions)).rejects.toThrow(
    `got "${theirs}"; what diffusers calls so is called ${ours} here`,
  );
});

describe("overall progress", () => {
  it("goes from 0 to 1 over all stages, and tells the seconds left from the first step on", async () => {
    await using model = await CogVideoX.open(folder, { gpu, dtype: "f32" });
    const told: (OverallProgress & { stage: string; done: number })[] = [];
    await model.generate({
      ...OPTIONS,
      prompt: PROMPTS[0]!,
      onProgress: (stage, done, _detail, overall) => void told.push({ stage, done, ...overall! }),
    });
    expect(told[0]).toMatchObject({ overall: 0 });
    expect(told.at(-1)).toMatchObject({ stage: "decode", overall: 1, secondsLeft: 0 });
    const steps = told.filter(({ stage, done }) => stage === "denoise" && done > 0 && done < 1);
    expect(steps.length).toBeGreaterThan(1);
    for (const { secondsLeft } of steps) expect(secondsLeft).toBeGreaterThan(0);
  });

  it("is what the stages were expected to take, corrected by what they do take", () => {
    let now = 0;
    const parts = [
      { stage: "load transformer", weight: 10 },
      { stage: "denoise", weight: 80, from: 0.5 },
      { stage: "decode", weight: 10 },
    ] as const;
    const known = new Overall(parts, true, () => now);
    expect(known.at("load transformer", 0)).toEqual({ overall: 0, secondsLeft: 100 });
    now = 10_000;
    expect(known.at("load transformer", 1)).toEqual({ overall: 0.1, secondsLeft: 90 });
    expect(known.at("denoise", 0.5)).toEqual({ overall: 0.1, secondsLeft: 90 });
    now = 50_000; // half of the steps that were left, as fast as was expected
    expect(known.at("denoise", 0.75)).toEqual({ overall: 0.5, secondsLeft: 50 });
    now = 170_000; // the others were three times as slow: so will be what follows
    expect(known.at("denoise", 1)).toEqual({ overall: 0.9, secondsLeft: 30 });
    expect(known.at("prepare preview", 0.5), "what nobody expected").toEqual({ overall: 0.9 });
    const unknown = new Overall(parts, false, () => now);
    expect(unknown.at("load transformer", 0.5)).toEqual({ overall: 0.05 });
    expect(unknown.at("denoise", 0.5)).toEqual({ overall: 0.1 });
    now += 8000;
    expect(unknown.at("denoise", 0.6).secondsLeft).toBeCloseTo(8 * 4 + 5);
    now += 2000; // the first step compiled its kernels: those that are left go by the second
    expect(unknown.at("denoise", 0.7).secondsLeft).toBeCloseTo(2 * 3 + 1.25);
    const sure = new Overall(parts, true, () => now);
    sure.at("denoise", 0.5);
    now += 70_000;
    expect(sure.at("denoise", 0.6).secondsLeft, "a step that compiles, where the others are known").toBeCloseTo(64 + 10);
    const slow = new Overall(parts, true, () => now);
    slow.at("denoise", 0.5);
    now += 220_000; // ten times as long, besides a minute
    expect(slow.at("denoise", 0.6).secondsLeft, "one that no compiling explains tells how slow the machine is").toBeCloseTo(640 + 100);
    now += 16_000;
    expect(slow.at("denoise", 0.7).secondsLeft, "until the next").toBeCloseTo(48 + 10);
  });

  it("takes a prompt's encoding for the pace of what follows, where it is slow beyond what is compiled in it", () => {
    let now = 0;
    const parts = [
      { stage: "encode prompt", weight: 100 },
      { stage: "load transformer", weight: 10 },
      { stage: "denoise", weight: 80 },
    ] as const;
    const leftAfter = (seconds: number) => {
      now = 0;
      const overall = new Overall(parts, true, () => now);
      overall.at("encode prompt", 0);
      now = seconds * 1000;
      overall.at("encode prompt", 0.5);
      const { secondsLeft } = overall.at("load transformer", 0);
      now += 50_000; // from a slow disk, which tells of no arithmetic
      return [secondsLeft, overall.at("load transformer", 0.5).secondsLeft];
    };
    expect(leftAfter(20), "no less than was expected").toEqual([90, 50 + 80]);
    expect(leftAfter(100), "half of it may be compiled").toEqual([90, 50 + 80]);
    expect(leftAfter(210)).toEqual([270, 50 + 240]);
  });
});
