/** Few steps: timesteps of one's own, one branch without guidance, and what an adapter's file advises. */
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { checkSaved } from "../../src/cli/generate/checks.ts";
import { writeSafetensors } from "../../src/files/safetensors.ts";
import type { Gpu } from "../../src/gpu/gpu.ts";
import type { DenoiseState } from "../../src/models/cogvideox/model.ts";
import { CogVideoX } from "../../src/pipelines/cogvideox/pipeline.ts";
import { writeLatents } from "../../src/pipelines/latents-file.ts";
import { readLatents } from "../../src/pipelines/read-latents.ts";
import { loadLora } from "../../src/pipelines/lora-file.ts";
import type { LoadedLora } from "../../src/pipelines/lora-input.ts";
import type { GenerateOptions } from "../../src/pipelines/options.ts";
import { savedSettings } from "../../src/pipelines/options/saved.ts";
import { completed } from "../../src/pipelines/settings.ts";
import { values } from "../support/compare.ts";
import { testGpu } from "../support/gpu.ts";
import { removeTinyCheckpoints, tinyCheckpoint } from "../support/tiny-checkpoint.ts";

let gpu: Gpu;
let model: CogVideoX;
let files: string;
beforeAll(async () => {
  gpu = await testGpu();
  model = await CogVideoX.open(await tinyCheckpoint(), { gpu, dtype: "f32" });
  files = await mkdtemp(join(tmpdir(), "cogwheel-few-steps-"));
});
afterAll(async () => {
  await model[Symbol.asyncDispose]();
  await removeTinyCheckpoints();
  await rm(files, { recursive: true, force: true });
});

const base = { prompt: "a red circle moving left", seed: 7, frames: 1 } as const;
const CHOSEN = [999, 856, 665, 399];
const latents = async (options: Partial<GenerateOptions>): Promise<string> =>
  Buffer.from((await model.generate({ ...base, ...options })).state.latents.buffer).toString("base64");

describe("timesteps", () => {
  it.for(["ddim", "dpm"] as const)("%s: those that are spaced evenly give the bytes of their number", async (scheduler) => {
    const even = await latents({ scheduler, steps: 4 });
    expect(await latents({ scheduler, timesteps: [999, 749, 499, 249] })).toBe(even);
    expect(await latents({ scheduler, timesteps: CHOSEN })).not.toBe(even);
  });

  it("say how many steps there are, and stand in the result", async () => {
    const request = await model.prepare({ ...base, timesteps: CHOSEN });
    expect(request.settings).toMatchObject({ steps: 4, timesteps: CHOSEN });
    expect(request.plan.steps.map(({ timestep }) => timestep)).toEqual(CHOSEN);
    expect((await model.prepare({ ...base, steps: 4 })).settings).not.toHaveProperty("timesteps");
  });

  it("which are advised give way to a number of steps that is asked for, and the other way round", () => {
    const advised = completed(model.defaults, { timesteps: CHOSEN, guidance: 1 });
    expect(advised).toMatchObject({ steps: 4, timesteps: CHOSEN, guidance: 1 });
    const asked = completed(advised, { steps: 50 });
    expect(asked).toMatchObject({ steps: 50, guidance: 1 });
    expect(asked.timesteps).toBeUndefined();
    expect(completed(model.defaults, { steps: 50 }, { timesteps: [500] })).toMatchObject({ steps: 1, timesteps: [500] });
  });

  it.for([
    [[], /timesteps must be a list of whole numbers from 0 up, each below the one before, got \[\]; leave them out/],
    [[400, 400], /each below the one before, got \[400,400\]/],
    [[399, 856], /each below the one before/],
    [[10.5], /a list of whole numbers/],
    [[3, -1], /from 0 up/],
    ["999", /got "999"/],
    [[1000, 5], /\[scheduler\] timesteps must be whole numbers that fall from at most 999 to at least 0, got 1000 as number 1/],
  ] as const)("are refused: %j", async ([timesteps, message]) => {
    await expect(model.prepare({ ...base, timesteps: timesteps as unknown as number[] })).rejects.toThrow(message);
  });

  it("contradict no number of steps", async () => {
    await expect(model.prepare({ ...base, timesteps: CHOSEN, steps: 5 })).rejects.toThrow(
      /steps must be as many as the timesteps that are listed, got 5 and 4; leave one of both out/,
    );
  });

  it("are kept with latents: a run goes on with them and with no others, to the same bytes", async () => {
    const options = { ...base, timesteps: CHOSEN, scheduler: "dpm" as const };
    const states: DenoiseState[] = [];
    const whole = await model.generate({ ...options, onStep: (state) => void states.push(state) });
    const { settings } = await model.prepare(options);
    const shape = [1, 1, model.configs.vae.latent_channels, 2, 4];
    expect(states[1]!.latents.length).toBe(shape.reduce((a, b) => a * b));
    const saved = await readLatents(
      writeLatents({ state: states[1]!, shape, settings: savedSettings({ ...options, ...settings }) }),
      "kept",
    );
    expect(saved.settings.timesteps).toEqual(CHOSEN);
    const went = await model.generate({ ...base, ...saved.settings, loras: [], start: saved.state } as GenerateOptions);
    expect(went.state.latents).toEqual(whole.state.latents);
    const check = (kept: typeof saved.settings, asked: Partial<GenerateOptions>) =>
      checkSaved({ ...saved, settings: kept, file: "kept" }, model, { ...base, ...asked }, completed(model.defaults, settings, asked));
    expect(() => check(saved.settings, { timesteps: CHOSEN })).not.toThrow();
    const { timesteps: _, ...even } = saved.settings;
    for (const [kept, timesteps] of [
      [saved.settings, [999, 749, 499, 249]],
      [even, CHOSEN],
    ] as const)
      expect(() => check(kept, { timesteps })).toThrow(/which only that schedule goes on from, got --timesteps 999/);
    const file = writeLatents({ state: states[1]!, shape, settings: { ...saved.settings, timesteps: ["a"] as unknown as number[] } });
    await expect(readLatents(file, "kept")).rejects.toThrow(/settings.timesteps must be a list of numbers, got \["a"\]/);
  });
});

describe("guidance 1", () => {
  it("computes one branch: half the work of a step, one prompt for the text encoder", async () => {
    const [one, two] = [await model.prepare({ ...base, guidance: 1 }), await model.prepare({ ...base, guidance: 6 })];
    expect(one.plan.shape.guidance).toBe(false);
    for (const stage of ["text encoder", "transformer"]) {
      const flops = [one, two].map(({ requirements }) => requirements.find((r) => r.stage === stage)!.flops);
      expect(flops[1]! / flops[0]!, stage).toBeGreaterThan(1.9);
    }
    const batch = (request: typeof one, stage: string, input: string) =>
      request.plan.stages
        .find((s) => s.stage === stage)!
        .plans()[0]!
        .graph.inputs.get(input)!.shape[0];
    expect([one, two].map((r) => batch(r, "transformer", "text"))).toEqual([1, 2]);
    expect([one, two].map((r) => batch(r, "text encoder", "input_ids"))).toEqual([1, 2]);
  });
});

describe("an adapter's advice", () => {
  const ADVICE = { num_inference_steps: 4, timesteps: CHOSEN, guidance_scale: 1, scheduler: "dpm", width: 640 };
  const bytes = (advice?: string): Uint8Array =>
    writeSafetensors(
      {
        "transformer.proj_out.lora_A.weight": { dtype: "F32", shape: [2, 32], data: values(64, 1, 0.3) },
        "transformer.proj_out.lora_B.weight": { dtype: "F32", shape: [16, 2], data: values(32, 2, 0.3) },
      },
      advice === undefined ? {} : { "generation.json": advice },
    );
  const prepared = (adapter: LoadedLora, options: Partial<GenerateOptions> = {}) =>
    model.prepare({ ...base, loras: [{ adapter }], ...options });

  it("in a file's metadata is taken where nothing else is asked for, and the user is told", async () => {
    const adapter = await loadLora(bytes(JSON.stringify(ADVICE)));
    expect(adapter.advice).toEqual({ steps: 4, timesteps: CHOSEN, guidance: 1, scheduler: "dpm" });
    const request = await prepared(adapter);
    expect(request.settings).toMatchObject({ steps: 4, timesteps: CHOSEN, guidance: 1, scheduler: "dpm", width: model.defaults.width });
    expect(request.warnings).toEqual([
      "[lora] the LoRA advises guidance 1; scheduler dpm; timesteps 999, 856, 665, 399: done so, where nothing else was asked for",
    ]);
    const said: string[] = [];
    const advised = await model.generate({ ...base, loras: [{ adapter }], onWarning: (message) => void said.push(message) });
    expect(said).toEqual(request.warnings);
    const asked = { ...base, loras: [{ adapter }], timesteps: CHOSEN, guidance: 1, scheduler: "dpm" } as const;
    expect(advised.state.latents).toEqual((await model.generate(asked)).state.latents);
  });

  it("gives way to what is asked for", async () => {
    const adapter = await loadLora(bytes(JSON.stringify(ADVICE)));
    const request = await prepared(adapter, { steps: 2, guidance: 3 });
    expect(request.settings).toMatchObject({ steps: 2, guidance: 3, scheduler: "dpm" });
    expect(request.settings.timesteps).toBeUndefined();
    expect(request.warnings).toEqual(["[lora] the LoRA advises scheduler dpm: done so, where nothing else was asked for"]);
    expect((await prepared(await loadLora(bytes()))).warnings).toEqual([]);
  });

  it("is read of a folder's generation.json too", async () => {
    const folder = join(files, "turbo");
    await mkdir(folder);
    await writeFile(join(folder, "pytorch_lora_weights.safetensors"), bytes());
    await writeFile(join(folder, "generation.json"), JSON.stringify(ADVICE));
    expect((await loadLora(folder)).advice).toMatchObject({ timesteps: CHOSEN, guidance: 1 });
    expect((await loadLora(join(folder, "pytorch_lora_weights.safetensors"))).advice, "a file by itself").toBeUndefined();
  });

  it.for([
    ["[1]", /\[lora\] the LoRA: generation.json must hold a JSON object, got a list/],
    ["{", /\[lora\] the LoRA: generation.json .*; correct the adapter's metadata/],
    ['{"guidance_scale": -1}', /\[lora\] the LoRA: generation.json: guidance must be a number from 0 up, got -1/],
    ['{"timesteps": [1, 2]}', /generation.json: timesteps must be a list of whole numbers/],
    ['{"scheduler": "euler"}', /generation.json: the scheduler must be ddim or dpm, got "euler"/],
  ] as const)("that is broken is refused: %s", async ([text, message]) => {
    await expect(loadLora(bytes(text))).rejects.toThrow(message);
  });
});
