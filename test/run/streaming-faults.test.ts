/** What goes wrong while weights come: it is told, nothing hangs, and the run can be taken up from its last step. */
import { mkdtemp, rm, truncate, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Component } from "../../src/checkpoint/checkpoint.ts";
import { findWeights } from "../../src/checkpoint/weight-index.ts";
import { ComponentWeights } from "../../src/checkpoint/component-weights.ts";
import { writeSafetensors, type TensorToWrite } from "../../src/files/safetensors.ts";
import { elements } from "../../src/graph/dtype.ts";
import { Profile } from "../../src/gpu/profile.ts";
import type { Denoiser, DenoiseState } from "../../src/models/cogvideox/model.ts";
import { transformerWeights } from "../../src/models/cogvideox/weights.ts";
import { folderSource } from "../../src/sources/folder.ts";
import type { CheckpointSource } from "../../src/sources/source.ts";
import { limitedGpu, testGpu } from "../support/gpu.ts";
import { denoiser, drawn, same, steps, transformer, type DrawnWeights } from "../support/streamed-models.ts";

const STREAM = { stream: () => true, slots: 2 };
const weights: DrawnWeights = drawn(transformerWeights(transformer));
let want: Float32Array;
beforeAll(async () => {
  using resident = await denoiser(await testGpu(), weights, {});
  want = await resident.run(steps);
});

/** Runs until it fails; the error, and the last state that was reached. */
async function failing(model: Denoiser, options: { signal?: AbortSignal; stallSeconds?: number } = {}) {
  let state: DenoiseState | undefined;
  let error: unknown;
  try {
    await model.run({ ...steps, ...options, onStep: (reached) => void (state = reached) });
  } catch (thrown) {
    error = thrown;
  }
  expect(error, "the run must fail").toBeInstanceOf(Error);
  return { error: error as Error, state };
}

/** Calls `fault` at the n-th read of a weight, and never again. */
function atRead(name: string, n: number, fault: (signal?: AbortSignal) => void | Promise<void>): void {
  let count = 0;
  weights.onRead = (read, signal) => (read === name && ++count === n ? fault(signal) : undefined);
}

const WEIGHT = "transformer_blocks.3.attn1.to_out.0.weight";

describe("in the second step", () => {
  test("a read that fails is told with its weight, and the same program goes on", async () => {
    using model = await denoiser(await testGpu(), weights, STREAM);
    atRead(WEIGHT, 2, () => Promise.reject(new Error("[checkpoint] model.safetensors: the disk is gone")));
    const { error, state } = await failing(model);
    expect(error.message).toBe(
      `[weights] a streamed weight must come in every run of denoise, got this for ${WEIGHT}: ` +
        "[checkpoint] model.safetensors: the disk is gone; see to where it is stored, then go on from the last step",
    );
    expect(state!.step).toBe(1);
    expect(same(await model.run({ ...steps, start: state! }), want)).toBe(true);
  });

  test("a source that stalls is told, and cancelled, and goes on when it answers", async () => {
    using model = await denoiser(await testGpu(), weights, STREAM);
    let answer = (): void => undefined;
    atRead(WEIGHT, 2, () => new Promise<void>((resolve) => void (answer = resolve)));
    const { error, state } = await failing(model, { stallSeconds: 0.3 });
    expect(error.message).toBe(
      `[weights] what denoise needs in its next step must come, got nothing for 0.3 s of ${WEIGHT} in memory; ` +
        "see to where it is stored, then go on from the last step",
    );
    // While the read is still under way no other run can begin, which is told as well.
    const again = model.run({ ...steps, start: state!, stallSeconds: 0.3 });
    await expect(again).rejects.toThrow("got nothing for 0.3 s of");
    answer();
    expect(same(await model.run({ ...steps, start: state! }), want)).toBe(true);
  });

  test("a cancelled run stops at once, though its read never ends", async () => {
    const gpu = await testGpu();
    const before = gpu.memory.allocated;
    const controller = new AbortController();
    let answer = (): void => undefined;
    {
      using model = await denoiser(gpu, weights, STREAM);
      atRead(WEIGHT, 2, () => {
        setTimeout(() => controller.abort(new Error("enough")), 20);
        return new Promise<void>((resolve) => void (answer = resolve));
      });
      const begun = performance.now();
      expect((await failing(model, { signal: controller.signal })).error.message).toBe("enough");
      expect(performance.now() - begun).toBeLessThan(10_000);
    }
    // What the read fills stays until it is over.
    expect(gpu.memory.allocated).toBeGreaterThan(before);
    answer();
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(gpu.memory.allocated).toBe(before);
  });

  test("a lost device ends the run, and another one goes on from its last step", async () => {
    const gpu = await limitedGpu({ kind: (await testGpu()).caps.kind });
    const model = await denoiser(gpu, weights, STREAM);
    atRead(WEIGHT, 2, () => gpu.device.destroy());
    const { error, state } = await failing(model);
    expect(error.message).toMatch(/^\[gpu\] the GPU device was lost/);
    model[Symbol.dispose]();
    await gpu[Symbol.asyncDispose]();
    expect(state!.step).toBe(1);
    using again = await denoiser(await testGpu(), weights, STREAM);
    expect(same(await again.run({ ...steps, start: state! }), want)).toBe(true);
  });
});

describe("a file", () => {
  let folder: string;
  beforeAll(async () => void (folder = await mkdtemp(join(tmpdir(), "cogwheel-streamed-"))));
  afterAll(() => rm(folder, { recursive: true }));

  test.each([
    ["cut", (path: string) => truncate(path, 100_000)],
    ["written again", (path: string) => utimes(path, 1, 1)],
  ])("that is %s while its weights are streamed is named with the weight", async (_, change) => {
    const path = join(folder, "diffusion_pytorch_model.safetensors");
    const tensors = new Map<string, TensorToWrite>();
    for (const [name, shape] of transformerWeights(transformer)) {
      const data = new Uint8Array(4 * elements(shape));
      await weights.stored(name).read(0, data);
      tensors.set(name, { dtype: "F32", shape, data });
    }
    const file = writeSafetensors(tensors);
    await writeFile(path, file);
    const open = async (source: CheckpointSource) => {
      const index = await findWeights(source, "", "diffusion_pytorch_model");
      return denoiser(await testGpu(), await ComponentWeights.open({ name: "transformer", weights: index } as Component, "f32"), STREAM);
    };
    await using source = await folderSource(folder);
    using model = await open(source);
    let changed = false;
    let state: DenoiseState | undefined;
    const run = model.run({
      ...steps,
      async onStep(reached) {
        state = reached;
        if (reached.step === 1) await change(path);
        changed = true;
      },
    });
    await expect(run).rejects.toThrow(
      /a streamed weight must come in every run of denoise, got this for \w.*diffusion_pytorch_model\.safetensors/,
    );
    expect(changed).toBe(true);
    await writeFile(path, file);
    await using mended = await folderSource(folder);
    using again = await open(mended);
    expect(same(await again.run({ ...steps, start: state! }), want)).toBe(true);
  });
});

test("two hundred streamed runs make no buffer, and leave memory as it was", async () => {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  weights.onRead = undefined;
  const gpu = await testGpu();
  using model = await denoiser(gpu, weights, STREAM);
  const rest = async (): Promise<number> => {
    for (let i = 0; i < 4; i++) {
      collect();
      await new Promise((done) => setImmediate(done));
    }
    return process.memoryUsage().heapUsed;
  };
  const run = async (times: number) => {
    for (let i = 0; i < times; i++) await model.run({ ...steps, steps: steps.steps.slice(0, 1) });
  };
  await run(100);
  const [heap, allocated] = [await rest(), gpu.memory.allocated];
  await run(200);
  expect(gpu.memory.allocated).toBe(allocated);
  const { peak } = gpu.memory;
  expect((await rest()) - heap).toBeLessThan(1_000_000);
  expect(gpu.memory.peak).toBe(peak);
});

test("the profile of a streamed run shows reads while the device works", async () => {
  weights.onRead = undefined;
  const gpu = await testGpu();
  using profile = new Profile(gpu);
  using model = await denoiser(gpu, weights, STREAM);
  await model.run({ ...steps, profile });
  const kinds = new Set(profile.host.map(({ kind }) => kind));
  for (const kind of ["read", "weight", "submit"] as const) expect(kinds).toContain(kind);
  const { read, overlapped } = profile.reading();
  expect(overlapped).toBeGreaterThan(0);
  expect(overlapped).toBeLessThanOrEqual(read);
  // The weights of all runs but those that came before the first began, or lay in their place still.
  const names = new Set(profile.host.filter(({ kind }) => kind === "weight").map(({ name }) => name));
  expect(names.has(WEIGHT)).toBe(true);
  const { traceEvents } = JSON.parse(profile.chromeTrace()) as { traceEvents: { cat: string; ts: number; dur: number }[] };
  expect(traceEvents.length).toBe(profile.dispatches.length + profile.host.length);
  for (const { ts, dur } of traceEvents) expect(ts >= 0 && dur >= 0).toBe(true);
});
