/** Loading and disposing again and again leaves memory as it was. */
import { execFileSync } from "node:child_process";
import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { Gpu } from "../../src/gpu/gpu.ts";
import { CogVideoX } from "../../src/pipelines/cogvideox/pipeline.ts";
import { values } from "../support/compare.ts";
import { limitedGpu, testGpu } from "../support/gpu.ts";
import { removeTinyCheckpoints, tinyCheckpoint } from "../support/tiny-checkpoint.ts";

const ROOT = join(import.meta.dirname, "../..");
let folder: string;
beforeAll(async () => void (folder = await tinyCheckpoint()));
afterAll(removeTinyCheckpoints);

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

/** Resident bytes and those of the heap once all garbage is gone, and open files where the system tells. */
async function held(): Promise<{ megabytes: number; heap: number; files: number }> {
  for (let i = 0; i < 3; i++) {
    collect();
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  const { rss, heapUsed, external } = process.memoryUsage();
  const files = process.platform === "linux" ? readdirSync("/proc/self/fd").length : 0;
  return { megabytes: rss / 1e6, heap: (heapUsed + external) / 1e6, files };
}

/**
 * Runs `work` many times, and sees what that leaves after some warm-up. A leak grows in every round; what an allocator or a collector keeps
 * for itself does so once, how much depends on what ran in this process before: hence a second round where the first one grew.
 * @param heap megabytes that the heap may grow by in a round, with what it counts outside itself
 */
async function expectFlat(times: number, work: () => Promise<void>, warm = Math.ceil(times / 5), heap = 20): Promise<void> {
  for (let i = 0; i < warm; i++) await work();
  let before = await held();
  for (let round = 1; ; round++) {
    for (let i = warm; i < times; i++) await work();
    const after = await held();
    const grown = after.megabytes - before.megabytes;
    console.log(
      `${times - warm} times: resident memory ${before.megabytes.toFixed(1)} → ${after.megabytes.toFixed(1)} MB, ` +
        `heap ${before.heap.toFixed(1)} → ${after.heap.toFixed(1)} MB, ${before.files} → ${after.files} open files`,
    );
    expect(after.files, "open files").toBeLessThanOrEqual(before.files);
    expect(after.heap - before.heap, "megabytes that the heap has grown by").toBeLessThan(heap);
    if (grown < 20) return;
    expect(round, `rounds that each grew by 20 MB or more, the last by ${grown.toFixed(1)}`).toBe(1);
    before = after;
  }
}

it("200 loads, runs and disposals of a whole checkpoint", async () => {
  const gpu: Gpu = await testGpu();
  const before = gpu.memory.allocated;
  await expectFlat(200, async () => {
    await using model = await CogVideoX.open(folder, { gpu });
    await model.generate({ prompt: "a red circle", seed: 1, frames: 1, steps: 1, width: 16 });
    expect(gpu.memory.allocated).toBe(before);
  });
});

it("200 generations whose weights are streamed, by the model that comes with the package", async () => {
  const gpu = await testGpu();
  const allocated = gpu.memory.allocated;
  {
    await using model = await CogVideoX.open(join(ROOT, "models/moving-shapes"), { gpu });
    const size = { frames: 1, width: 16, height: 16, steps: 2 } as const;
    const prompt = "a red circle moving left on a black background";
    const memoryBytes = model.leastMemoryBytes(size);
    const { requirements } = await model.prepare({ ...size, memoryBytes, prompt });
    expect(requirements.filter(({ streamed }) => streamed > 0).map(({ stage }) => stage)).toContain("transformer");
    const latents = new Set<string>();
    let most = 0;
    const once = async (): Promise<void> => {
      const onProgress = (): void => void (most = Math.max(most, gpu.memory.allocated - allocated));
      const { state } = await model.generate({ ...size, memoryBytes, seed: 1, prompt, onProgress });
      latents.add(Buffer.from(state.latents.buffer).toString("base64"));
    };
    await expectFlat(200, once, 40, 1.5);
    expect(latents.size).toBe(1);
    expect(most).toBeGreaterThan(0);
    expect(most).toBeLessThanOrEqual(memoryBytes);
  }
  expect(gpu.memory.allocated).toBe(allocated);
});

it("200 loads that are given up half-way", async () => {
  const gpu = await testGpu();
  const before = gpu.memory.allocated;
  let turn = 0;
  await expectFlat(200, async () => {
    await using model = await CogVideoX.open(folder, { gpu });
    const controller = new AbortController();
    const where = turn++ % 2 ? "load text encoder" : "load transformer";
    // Not expect().rejects: vitest keeps every promise that it is given until the test ends.
    const failed = await model
      .generate({
        prompt: "a red circle",
        seed: 1,
        frames: 1,
        steps: 1,
        width: 16,
        signal: controller.signal,
        onProgress: (stage, done) => {
          if (stage === where && done > 0.6) controller.abort(new Error("enough"));
        },
      })
      .catch((error: Error) => error.message);
    expect(failed).toBe("enough");
    expect(gpu.memory.allocated).toBe(before);
  });
});

// Without pipelines: Dawn compiles them on threads of its own, whose heaps grow by a few hundred KB a device for a while.
it("30 devices, opened, used and closed", async () => {
  const data = values(1 << 18);
  await expectFlat(
    30,
    async () => {
      await using gpu = await limitedGpu({});
      using buffer = gpu.buffer("data", data.byteLength, GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC, data);
      expect(new Float32Array(await gpu.read(buffer.buffer))[12345]).toBe(data[12345]);
    },
    12,
  );
});

it("devices that are closed, or lost and opened again, are collected, with what their listeners know", async () => {
  execFileSync(process.execPath, ["build.mjs", "--if-stale"], { cwd: ROOT });
  const script = join(folder, "reopen.mjs");
  writeFileSync(
    script,
    `
    import { Gpu } from ${JSON.stringify(join(ROOT, "dist/node.js"))};
    let collected = 0;
    const registry = new FinalizationRegistry(() => collected++);
    const once = async (lost) => {
      const gpu = await Gpu.open({ tuning: false });
      registry.register(gpu);
      registry.register(gpu.device);
      const buffer = gpu.buffer("data", 4096, GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC, new Float32Array(1024));
      await gpu.read(buffer.buffer);
      if (lost) gpu.device.destroy();
      if (lost) await gpu.device.lost;
      await gpu[Symbol.asyncDispose]();
    };
    for (let i = 0; i < 6; i++) {
      await once(i % 2 === 1);
      for (let k = 0; k < 5; k++) { await new Promise((resolve) => setTimeout(resolve, 20)); gc(); }
    }
    console.log(collected);
  `,
  );
  expect(execFileSync(process.execPath, ["--expose-gc", script], { encoding: "utf8", timeout: 60_000 })).toBe("12\n");
});
