import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Gpu } from "../../src/gpu/gpu.ts";
import { CogVideoX } from "../../src/pipelines/cogvideox/pipeline.ts";
import type { Stage } from "../../src/pipelines/cogvideox/stage-names.ts";
import type { GenerateOptions } from "../../src/pipelines/options.ts";
import type { DenoiseState } from "../../src/models/cogvideox/model.ts";
import { GenerationInterrupted } from "../../src/pipelines/interrupted.ts";
import { writeLatents } from "../../src/pipelines/latents-file.ts";
import { readLatents } from "../../src/pipelines/read-latents.ts";
import type { Video } from "../../src/pipelines/video.ts";
import { relativeL2 } from "../support/compare.ts";
import { limitedGpu, testGpu } from "../support/gpu.ts";
import { removeTinyCheckpoints, tinyCheckpoint } from "../support/tiny-checkpoint.ts";

let gpu: Gpu;
let folder: string;
let model: CogVideoX;
let bytesBefore: number;
beforeAll(async () => {
  gpu = await testGpu();
  bytesBefore = gpu.memory.allocated;
  folder = await tinyCheckpoint();
  model = await CogVideoX.open(folder, { gpu, dtype: "f32" });
});
afterAll(async () => {
  await model[Symbol.asyncDispose]();
  await removeTinyCheckpoints();
  expect(gpu.memory.allocated, "bytes left behind by this file").toBe(bytesBefore);
});

const PROMPT = "a red circle moving left";
const generate = (options: Partial<GenerateOptions> = {}): Promise<Video> =>
  model.generate({ prompt: PROMPT, seed: 7, frames: 1, ...options });
const bytes = ({ frames }: Video): string => Buffer.concat(frames.map((f) => f.data)).toString("base64");
const latents = ({ state }: Video): string => Buffer.from(state.latents.buffer).toString("base64");

describe("what is made", () => {
  it.for([1, 8, 9, 17])("has %d frames of the size, every time the same bytes", async (frames) => {
    const [first, second] = [await generate({ frames }), await generate({ frames })];
    expect(first.frames.length).toBe(frames);
    for (const frame of first.frames) expect(frame).toMatchObject({ width: 32, height: 16, data: { length: 32 * 16 * 4 } });
    expect(
      first.frames.every(({ data }) => data.every((v, i) => i % 4 !== 3 || v === 255)),
      "alpha is 255",
    ).toBe(true);
    expect(new Set(first.frames.flatMap(({ data }) => [...data])).size, "different values").toBeGreaterThan(50);
    expect(latents(second)).toBe(latents(first));
    expect(bytes(second)).toBe(bytes(first));
    expect(first.state.latents.every(Number.isFinite)).toBe(true);
  });

  it("takes other sizes", async () => {
    const video = await generate({ width: 48, height: 32 });
    expect(video.frames[0]).toMatchObject({ width: 48, height: 32 });
    expect(video.state.latents.length).toBe(4 * 6 * 4);
  });

  it("follows the seed, the prompt, the sampler, the steps, guidance and the negative prompt", async () => {
    const runs: Record<string, Partial<GenerateOptions>> = {
      plain: {},
      seed: { seed: 8 },
      prompt: { prompt: "a blue square moving right" },
      dpm: { scheduler: "dpm" },
      steps: { steps: 3 },
      guidance: { guidance: 5 },
      "no guidance": { guidance: 1 },
      negative: { negative: "a green triangle" },
      dynamic: { dynamicGuidance: true },
    };
    const made = new Map<string, string>();
    for (const [name, options] of Object.entries(runs)) {
      const result = latents(await generate(options));
      expect([...made].find(([, other]) => other === result)?.[0], `${name} is the same as`).toBeUndefined();
      made.set(name, result);
    }
    expect(
      latents(await generate({ guidance: 1, negative: "a green triangle" })),
      "without guidance nobody reads the negative prompt",
    ).toBe(made.get("no guidance"));
    expect(latents(await generate({ negative: "" })), "the negative prompt is empty unless given").toBe(made.get("plain"));
  });

  it("tells what it was made with, and nothing else", async () => {
    const { settings, state, seconds } = await generate({ onStep: () => undefined, scheduler: "dpm" });
    expect(settings).toEqual({
      height: 16,
      width: 32,
      frames: 1,
      fps: 8,
      steps: 4,
      guidance: 3,
      scheduler: "dpm",
      seed: 7,
      prompt: PROMPT,
    });
    expect(state.step).toBe(4);
    expect(Object.keys(seconds)).toEqual(["load text encoder", "encode prompt", "load transformer", "denoise", "load decoder", "decode"]);
    const { settings: other } = await model.generate({ prompt: PROMPT, frames: 1, steps: 1 });
    expect(latents(await model.generate({ prompt: PROMPT, frames: 1, steps: 1, seed: other.seed })), "a random seed is told").toBe(
      latents(await model.generate({ prompt: PROMPT, frames: 1, steps: 1, seed: other.seed })),
    );
  });

  it("is near in f16", async ({ skip }) => {
    skip(!gpu.caps.f16, "needs an adapter with shader-f16");
    await using half = await CogVideoX.open(folder, { gpu, dtype: "f16" });
    const [full, got] = [await generate({ frames: 9 }), await half.generate({ prompt: PROMPT, seed: 7, frames: 9 })];
    expect(latents(got)).not.toBe(latents(full));
    expect(relativeL2(got.state.latents, full.state.latents)).toBeLessThan(5e-3);
    const [a, b] = [got, full].map((v) => Buffer.concat(v.frames.map((f) => f.data)));
    expect(relativeL2(a!, b!)).toBeLessThan(2e-2);
  });

  it("passes when every node is looked at", async () => {
    expect(bytes(await generate({ frames: 9, checkFinite: true, scheduler: "dpm" }))).toBe(
      bytes(await generate({ frames: 9, scheduler: "dpm" })),
    );
  });
});

describe("stages", () => {
  it("come in order, each from 0 to 1, and are done once", async () => {
    const told: [Stage, number][] = [];
    await generate({ frames: 17, onProgress: (stage, done) => told.push([stage, done]) });
    const names = [...new Set(told.map(([stage]) => stage))];
    expect(names).toEqual(["load text encoder", "encode prompt", "load transformer", "denoise", "load decoder", "decode"]);
    expect(told.map(([stage]) => names.indexOf(stage))).toEqual(told.map(([stage]) => names.indexOf(stage)).sort());
    for (const name of names) {
      const shares = told.filter(([stage]) => stage === name).map(([, done]) => done);
      expect(shares[0]).toBe(0);
      expect(
        shares.filter((share) => share >= 1),
        name,
      ).toEqual([1]);
      expect(shares.at(-1)).toBe(1);
      expect(shares, name).toEqual([...shares].sort((a, b) => a - b));
    }
  });

  it.for(["f32", "f16"] as const)("take the memory that was computed beforehand, one after another, in %s", async (dtype, { skip }) => {
    skip(dtype === "f16" && !gpu.caps.f16, "needs an adapter with shader-f16");
    await using opened = await CogVideoX.open(folder, { gpu, dtype });
    const before = gpu.memory.allocated;
    const seen = new Map<Stage, number>();
    await opened.generate({
      prompt: PROMPT,
      seed: 7,
      frames: 17,
      onProgress: (stage, done) => {
        if (done === 0) seen.set(stage, gpu.memory.allocated - before);
      },
    });
    for (const stage of ["load text encoder", "load transformer", "load decoder"] as const)
      expect(seen.get(stage), `bytes left when ${stage} begins`).toBe(0);
    const [text, transformer, decoder] = opened.requirements({ frames: 17 });
    for (const [stage, need] of [
      ["encode prompt", text],
      ["denoise", transformer],
      ["decode", decoder],
    ] as const) {
      const got = seen.get(stage)!;
      // Parameters in uniforms and the rounding of buffers are not in the figures.
      expect(got / need!.total, `${need!.stage} took ${got} bytes, ${need!.total} were announced`).toBeGreaterThan(0.98);
      expect(got / need!.total, `${need!.stage} took ${got} bytes, ${need!.total} were announced`).toBeLessThan(1.05);
      expect(need!.lowerBound).toBeLessThanOrEqual(need!.activations);
    }
    expect(gpu.memory.allocated).toBe(before);
  });
});

describe("going on", () => {
  it.for([
    ["ddim", {}],
    ["dpm", {}],
    ["dpm", { dynamicGuidance: true, guidance: 6 }],
    ["ddim", { guidance: 1 }],
  ] as const)("with %s %o from any step gives the uninterrupted run's bytes", async ([scheduler, more]) => {
    const states: DenoiseState[] = [];
    const whole = await generate({ ...more, scheduler, onStep: (state) => void states.push(state) });
    expect(states.map(({ step }) => step)).toEqual([1, 2, 3, 4]);
    for (const state of states) {
      const shape = [1, 1, 4, 2, 4];
      const file = await readLatents(writeLatents({ state, shape, settings: { ...whole.settings } }), "saved");
      expect(file).toMatchObject({ shape, settings: whole.settings, state: { step: state.step } });
      const stages = new Set<Stage>();
      const rest = await generate({ ...more, scheduler, start: file.state, onProgress: (stage) => stages.add(stage) });
      expect(latents(rest), `from step ${state.step}`).toBe(latents(whole));
      expect(bytes(rest)).toBe(bytes(whole));
      if (state.step === 4) expect([...stages], "finished latents are only decoded").toEqual(["load decoder", "decode"]);
    }
  });

  it("is refused from what does not fit, before anything is loaded", async () => {
    const size = 4 * 2 * 4;
    const refused = async (options: Partial<GenerateOptions>, rule: RegExp) => {
      const stages: Stage[] = [];
      await expect(generate({ ...options, onProgress: (stage) => stages.push(stage) })).rejects.toThrow(rule);
      expect(stages).toEqual([]);
    };
    await refused(
      { start: { step: 1, latents: new Float32Array(size + 1) } },
      /^\[denoise\] latents must be \[1, 1, 4, 2, 4\] = 32 values for this size and these frames, got 33; /,
    );
    await refused({ start: { step: 5, latents: new Float32Array(size) } }, /^\[denoise\] a run goes on from step 0 to 4, got 5; /);
    await refused({ start: { step: 1.5, latents: new Float32Array(size) } }, /from step 0 to 4, got 1\.5/);
    await refused(
      { start: { step: 2, latents: new Float32Array(size) }, scheduler: "dpm" },
      /^\[denoise\] this scheduler goes on from the clean latents of the step before too \(32 values of "original"\), got none; /,
    );
  });

  it("reads saved latents with suspicion", async () => {
    const saved = { state: { step: 1, latents: new Float32Array(32) }, shape: [1, 1, 4, 2, 4], settings: {} };
    const refused = (change: object, rule: RegExp) =>
      expect(readLatents(writeLatents({ ...saved, ...change } as typeof saved), "x.safetensors")).rejects.toThrow(rule);
    await refused({ shape: [32] }, /^\[latents\] x\.safetensors: a file of latents must hold "latents" \[n, F, C, H, W\], got \[32\]/);
    await refused({ state: { ...saved.state, step: -1 } }, /step must be a whole number, got "-1"/);
    await refused({ settings: { frames: "9" } }, /settings\.frames must be a number, got "9"/);
    await refused({ settings: { sharpness: 1 } }, /settings may hold .*, got "sharpness"; use the version that wrote the file/);
    await refused({ settings: { task: "dream" } }, /settings\.task must be text, image, video, control, inpaint, got "dream"/);
    await refused({ settings: null }, /settings must hold a JSON object, got null/);
  });
});

describe("stopping", () => {
  it("stops within a step, keeps the latents, and they are good to go on from", async () => {
    const reason = new Error("enough");
    const controller = new AbortController();
    const steps: number[] = [];
    const before = gpu.memory.allocated;
    const failed = await generate({
      signal: controller.signal,
      onStep: ({ step }) => {
        steps.push(step);
        if (step === 2) controller.abort(reason);
      },
    }).catch((error: unknown) => error);
    expect(failed).toBeInstanceOf(GenerationInterrupted);
    const { message, cause, state } = failed as GenerationInterrupted;
    expect(message).toBe("[generate] stopped after step 2 of 4: enough; its latents are kept, pass them as start to go on");
    expect(cause).toBe(reason);
    expect(steps).toEqual([1, 2]);
    expect(gpu.memory.allocated).toBe(before);
    expect(bytes(await generate({ start: state }))).toBe(bytes(await generate()));
  });

  it("stops in every stage with the reason, and gives back all memory", async () => {
    const before = gpu.memory.allocated;
    for (const where of ["load text encoder", "encode prompt", "load transformer", "denoise", "load decoder", "decode"] as const) {
      const reason = new Error(`enough of ${where}`);
      const controller = new AbortController();
      const later: Stage[] = [];
      const failed = (await generate({
        frames: 17,
        signal: controller.signal,
        onProgress: (stage, done) => {
          if (controller.signal.aborted && stage !== where) later.push(stage);
          if (stage === where && done === 0) controller.abort(reason);
        },
      }).catch((error: Error) => error)) as Error;
      expect(failed instanceof GenerationInterrupted ? failed.cause : failed, where).toBe(reason);
      if (where.endsWith("decoder") || where === "decode")
        expect((failed as GenerationInterrupted).state.step, "the latents are done").toBe(4);
      expect(later).toEqual([]);
      expect(gpu.memory.allocated, `bytes left after ${where}`).toBe(before);
    }
    await expect(generate({ signal: AbortSignal.abort(new Error("before it began")) })).rejects.toThrow("before it began");
  });

  it("keeps the latents of a device that was lost, and says so", async () => {
    await using doomed = await limitedGpu({});
    await using lost = await CogVideoX.open(folder, { gpu: doomed, dtype: "f32" });
    const failed = await lost
      .generate({
        prompt: PROMPT,
        seed: 7,
        frames: 1,
        onStep: ({ step }) => {
          if (step === 2) doomed.device.destroy();
        },
      })
      .catch((error: unknown) => error);
    expect(failed).toBeInstanceOf(GenerationInterrupted);
    expect((failed as Error).message).toMatch(/^\[generate\] stopped after step 2 of 4: \[gpu\] the GPU device was lost/);
    expect(doomed.memory.allocated).toBe(0);
    expect(bytes(await generate({ start: (failed as GenerationInterrupted).state }))).toBe(bytes(await generate()));
    await expect(lost.generate({ prompt: PROMPT })).rejects.toThrow(/^\[gpu\] the GPU device was lost/);
  });

  it("passes on what a callback throws, with the latents", async () => {
    const before = gpu.memory.allocated;
    const failed = await generate({
      onStep: async ({ step }) => {
        if (step === 1) throw new Error("disk full");
      },
    }).catch((error: unknown) => error);
    expect(failed).toMatchObject({ name: "GenerationInterrupted", state: { step: 1 }, cause: { message: "disk full" } });
    expect(gpu.memory.allocated).toBe(before);
  });
});

describe("bad requests", () => {
  const refused = async (options: object, rule: RegExp) => {
    const stages: Stage[] = [];
    await expect(generate({ onProgress: (stage) => stages.push(stage), ...options })).rejects.toThrow(rule);
    expect(stages).toEqual([]);
  };

  it("are refused by name, with a remedy, before anything is loaded", async () => {
    await refused({ width: 40 }, /^\[generate\] height and width must be multiples of 16, got width 40; the nearest is 48$/);
    await refused({ height: 0 }, /multiples of 16, got height 0; the nearest is 16/);
    await refused({ height: NaN }, /multiples of 16, got height NaN/);
    await refused({ width: 1e9 * 16 }, /^\[generate\] a video may have 2147483648 pixels in all, got 16000000000 × 16 × 1; /);
    for (const frames of [0, 2, 7, 10, 16.5, -1]) await refused({ frames }, /^\[generate\] this model makes 8·k or 8·k \+ 1 frames, got /);
    await refused({ frames: 12 }, /got 12; the nearest are 8, 9, 16, 17$/);
    await refused({ steps: 0 }, /^\[generate\] steps must be a whole number from 1 to 1000, got 0/);
    await refused({ guidance: -1 }, /guidance must be a number from 0 up, got -1/);
    await refused({ fps: 0 }, /fps must be a number above 0/);
    await refused({ scheduler: "euler" }, /^\[generate\] the scheduler must be ddim or dpm, got "euler"/);
    await refused({ seed: 1.5 }, /a seed must be a whole number up to 2\^53 − 1, got 1\.5/);
    for (const prompt of ["", " \n\t", undefined]) await refused({ prompt }, /^\[generate\] the prompt must not be empty, got /);
    await expect((model as unknown as { generate(): Promise<unknown> }).generate()).rejects.toThrow(
      /^\[generate\] the prompt must not be empty, got undefined/,
    );
    await refused({ prompt: 7 }, /^\[generate\] the prompt must be a text, got 7/);
    await refused({ eta: 0 }, /got "eta"; diffusers has it, and here it is 0; leave it out$/);
    await refused({ bananas: 3 }, /got "bananas"; check its spelling$/);
    await refused({ step: 3 }, /^\[generate\] options must be among .*, got "step"; did you mean steps\?$/);
  });

  it("take no more memory than an app allows, told before anything is loaded", async () => {
    const most = Math.max(...model.requirements({ frames: 9 }).map(({ peak }) => peak));
    await using tight = await CogVideoX.open(folder, { gpu, dtype: "f32", memoryBytes: 100_000 });
    const stages: Stage[] = [];
    await expect(tight.generate({ prompt: PROMPT, frames: 9, onProgress: (stage) => stages.push(stage) })).rejects.toThrow(
      /^\[generate\] the \w[\w ]* takes .* of the adapter's memory \(weights .*, activations .*\), got a limit of .* in memoryBytes; the smallest that would do is /,
    );
    expect(stages).toEqual([]);
    await using enough = await CogVideoX.open(folder, { gpu, dtype: "f32", memoryBytes: most });
    expect((await enough.generate({ prompt: PROMPT, frames: 9, seed: 7 })).frames.length).toBe(9);
  });

  it("refuse a prompt of megabytes before it is read, and tell of a long one in a line", async () => {
    const begun = performance.now();
    const huge = "a ".repeat(10_000_000);
    await expect(generate({ prompt: huge })).rejects.toThrow(
      "[generate] the prompt may have 100000 characters, of which a model reads the first few hundred words, got 20000000; shorten it",
    );
    await expect(generate({ prompt: "a", negative: huge })).rejects.toThrow("[generate] negative may have 100000 characters");
    await expect(generate({ prompt: "a", negative: 7 as unknown as string })).rejects.toThrow("[generate] negative must be a text, got 7");
    expect(performance.now() - begun).toBeLessThan(1000);
    const warnings: string[] = [];
    await generate({ prompt: "red ".repeat(20_000), frames: 1, steps: 1, onWarning: (message) => warnings.push(message) });
    expect(warnings).toEqual([
      expect.stringMatching(/^\[generate\] a prompt may have 12 tokens; cut off: "(.{300})" and 79\d{3} characters more$/),
    ]);
  });

  it("warn of a prompt that is too long, and what was cut changes nothing", async () => {
    const warnings: string[] = [];
    const long = await generate({
      prompt: `${PROMPT} on a black background and a very long tail of other things`,
      onWarning: (message) => warnings.push(message),
    });
    expect(warnings.length).toBe(1);
    const [, cut] = /^\[generate\] a prompt may have 12 tokens; cut off: (".*")$/.exec(warnings[0]!) ?? [];
    expect(cut).toBeDefined();
    expect(JSON.parse(cut!)).toMatch(/ things$/);
    const whole = `${PROMPT} on a black background and a very long tail of other things`;
    const other = await generate({
      prompt: whole.slice(0, whole.length - (JSON.parse(cut!) as string).length) + JSON.parse(cut!).replace("things", "words"),
    });
    expect(latents(other)).toBe(latents(long));
    expect(latents(long)).not.toBe(latents(await generate()));
  });
});
