/** A generation before it is run: what is told and refused without loading anything, and that it is run as it was prepared. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Gpu } from "../../src/gpu/gpu.ts";
import { CogVideoX } from "../../src/pipelines/cogvideox/pipeline.ts";
import type { Denoiser } from "../../src/models/cogvideox/model.ts";
import type { GenerateOptions } from "../../src/pipelines/options.ts";
import { planFor } from "../../src/run/weight-store.ts";
import { folderSource } from "../../src/sources/folder.ts";
import type { CheckpointSource } from "../../src/sources/source.ts";
import { testGpu } from "../support/gpu.ts";
import { removeTinyCheckpoints } from "../support/tiny-checkpoint.ts";
import { tinyFrame, tinyFrames, tinyTask } from "../support/tiny-tasks.ts";

let gpu: Gpu;
beforeAll(async () => {
  gpu = await testGpu();
});
afterAll(removeTinyCheckpoints);

const base = { prompt: "a red circle moving left", seed: 7, frames: 9, steps: 2, guidance: 3 } as const;

/** A checkpoint, and what is read of it from now on: files, and where in them. */
async function watched(task: string): Promise<{ source: CheckpointSource; reads: string[] }> {
  const folder = await folderSource(await tinyTask(task));
  const reads: string[] = [];
  const source: CheckpointSource = {
    label: folder.label,
    list: () => folder.list(),
    exists: (path) => folder.exists(path),
    size: (path) => folder.size(path),
    read: (path, start, end, into) => {
      reads.push(`${path} ${start}`);
      return folder.read(path, start, end, into);
    },
    [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
  };
  return { source, reads };
}

describe("a request", () => {
  it("is told whole before anything is loaded, and is run as it is", async () => {
    const { source, reads } = await watched("image");
    await using model = await CogVideoX.open(source, { gpu, dtype: "f32" });
    reads.length = 0;
    const allocated = gpu.memory.allocated;
    const options = { ...base, image: tinyFrame(0), samples: 2 };
    const request = await model.prepare(options);
    expect(request).toMatchObject({ seed: 7, task: "image", tiling: "none", warnings: [], settings: { frames: 9, steps: 2, guidance: 3 } });
    expect(request.requirements.map(({ stage }) => stage)).toEqual(["text encoder", "encoder", "transformer", "decoder"]);
    expect(request.requirements).toBe(model.requirements({ ...base, task: "image", samples: 2 }));
    expect([...request.weights.keys()]).toEqual(["text_encoder", "transformer", "vae"]);
    expect(reads, "files that were read").toEqual([]);
    expect(gpu.memory.allocated).toBe(allocated);
    const [prepared, asked] = [await model.generate(request), await model.generate(options)];
    expect(prepared.state.latents).toEqual(asked.state.latents);
    expect(prepared.samples).toEqual(asked.samples);
    expect(reads.length).toBeGreaterThan(0);
    expect((await model.generate(request)).state.latents, "again").toEqual(asked.state.latents);
  });

  it("keeps the seed that it drew, and the lists that it was given", async () => {
    await using model = await CogVideoX.open(await tinyTask("control"), { gpu, dtype: "f32" });
    const control = tinyFrames(9);
    const request = await model.prepare({ prompt: base.prompt, steps: 1, control });
    control.length = 0;
    const [one, two] = [await model.generate(request), await model.generate(request)];
    expect(one.settings).toMatchObject({ seed: request.seed, frames: 9 });
    expect(two.state.latents).toEqual(one.state.latents);
  });

  it("is refused as a generation is", async () => {
    await using model = await CogVideoX.open(await tinyTask("text"), { gpu, dtype: "f32", memoryBytes: 100_000 });
    const wrong: GenerateOptions[] = [
      { ...base, prompt: " " },
      { ...base, steps: 0 },
      { ...base, frames: 10 },
      { ...base, image: tinyFrame(0) },
      { ...base, video: [] },
      { ...base, strength: 0.5 },
      { ...base, start: new Float32Array(3) },
      { ...base, loras: [{ adapter: "nowhere.safetensors" }] },
      base,
    ];
    for (const options of wrong) {
      const refusal = await model.prepare(options).then(
        () => "none",
        (error: Error) => error.message,
      );
      expect(refusal).toMatch(/^\[\w+\] /);
      await expect(model.generate(options)).rejects.toThrow(refusal);
    }
  });

  it("belongs to the model that prepared it", async () => {
    const folder = await tinyTask("text");
    await using one = await CogVideoX.open(folder, { gpu, dtype: "f32" });
    await using other = await CogVideoX.open(folder, { gpu, dtype: "f32" });
    await expect(other.generate(await one.prepare(base))).rejects.toThrow(/a request must be of the model that runs it/);
  });

  it("is planned again for another device", async () => {
    await using model = await CogVideoX.open(await tinyTask("text"), { dtype: "f32" });
    const request = await model.prepare(base);
    const { gpu: first } = model;
    const before = await model.generate(request);
    first.device.destroy();
    expect((await model.generate(request)).state.latents).toEqual(before.state.latents);
    expect(model.gpu).not.toBe(first);
    expect((await model.generate(request)).state.latents, "of a device that is gone").toEqual(before.state.latents);
  });

  it("hands its plans on to what is loaded, but for weights that are stored otherwise", async () => {
    await using model = await CogVideoX.open(await tinyTask("text"), { gpu, dtype: "f32", keep: true });
    const request = await model.prepare(base);
    await model.generate(request);
    const { stages, shape } = request.plan;
    const [plan] = stages.find(({ stage }) => stage === "transformer")!.plans();
    using held = await request.model.parts.hold("transformer", JSON.stringify(shape), (): Promise<Denoiser> => {
      throw new Error("is kept");
    });
    expect(held.part.plan).toBe(plan);
    expect(planFor(plan, { type: () => "f32" })).toBe(plan);
    expect(planFor(plan, { type: (name) => (name === "proj_out.weight" ? "f16" : "f32") })).toBeUndefined();
  });
});

describe("a preview", () => {
  it("of a run that begins from frames asks the VAE that encodes them, and loads no other", async () => {
    const { source, reads } = await watched("image");
    await using model = await CogVideoX.open(source, { gpu, dtype: "f32" });
    const encoding: string[] = [];
    const run = model.generate({
      ...base,
      image: tinyFrame(0),
      preview: true,
      onProgress: (stage, done) => {
        if (stage === "load encoder" && done === 0) reads.length = 0;
        if (stage === "load transformer" && done === 0) encoding.push(...reads);
      },
    });
    const previews: number[] = [];
    for await (const step of run) previews.push(step.preview().length);
    expect(previews).toEqual([3, 3]);
    expect(encoding.length).toBeGreaterThan(10);
    expect(new Set(encoding).size, "each weight once").toBe(encoding.length);
  });
});
