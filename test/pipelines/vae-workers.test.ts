/** A checkpoint's VAE over worker processes of this machine: the bytes of one worker, what they tell, and what their end does to the others. */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { memorySource } from "../../src/sources/memory.ts";
import { vaeGraph } from "../../src/models/vae/batches.ts";
import type { WorkerReport } from "../../src/models/vae/split/run.ts";
import { conv3dOp } from "../../src/ops/conv3d.ts";
import { writeVideoLatents } from "../../src/pipelines/latents-file.ts";
import { fromVae } from "../../src/pipelines/latent-layout.ts";
import { VideoVae, type VideoLatents } from "../../src/pipelines/video-vae.ts";
import { fitFrames } from "../../src/video/fit.ts";
import { relativeL2, values } from "../support/compare.ts";
import { isAlive } from "../support/bare.ts";
import { stateOf } from "../support/kill.ts";
import { testGpu } from "../support/gpu.ts";

const LAUNCHER = join(import.meta.dirname, "../../dist/launch.js");
const EMBEDDED = join(import.meta.dirname, "../../models/moving-shapes");
let vae: VideoVae;
beforeAll(async () => {
  vae = await VideoVae.open(EMBEDDED, { gpu: await testGpu(), dtype: "f32" });
});
afterAll(async () => {
  await vae[Symbol.asyncDispose]();
});

const size = 32;
const frames = Array.from({ length: 9 }, (_, t) => ({
  width: size,
  height: size,
  data: Uint8Array.from(values(3 * size * size, 5 + t), (v) => 128 + 100 * v),
}));

/** The worker processes that this one has started and that still run. */
const workersOf = (): number[] =>
  execFileSync("ps", ["-A", "-o", "pid=,ppid=,stat=,args="], { encoding: "utf8" })
    .split("\n")
    .map((line) => line.trim().split(/\s+/))
    .filter(
      ([, parent, state, ...args]) =>
        Number(parent) === process.pid && !state!.startsWith("Z") && args.join(" ").includes("cogwheel-worker.js"),
    )
    .map(([pid]) => Number(pid));

async function gone(pids: readonly number[]): Promise<number> {
  const begun = performance.now();
  while (pids.some(isAlive) && performance.now() - begun < 10_000) await new Promise((resolve) => setTimeout(resolve, 50));
  return (performance.now() - begun) / 1000;
}

/** Two frames of what each convolution over three frames reads, by the graph of one frame. */
function boundaryBytes(part: "encode" | "decode"): number {
  const side = part === "encode" ? size : size / vae.ratio.spatial;
  const { nodes } = vaeGraph(
    vae.config,
    { type: () => "f32" },
    { part, batch: 1, frames: 1, height: side, width: side, format: "sample", dtype: "f32", continues: false, continued: true },
  );
  return nodes.reduce((bytes, { op, inputs: { x, w } }) => {
    const over3 = op === conv3dOp && w!.shape.length === 5 && w!.shape[2] === 3;
    return bytes + (over3 ? 2 * x!.dim(2) * x!.dim(3) * w!.dim(1) * 4 : 0);
  }, 0);
}

describe("a clip over processes", () => {
  test("is encoded and decoded to the bytes of one process, near what no split gives", async () => {
    const plain = await vae.encode(frames);
    const seen: WorkerReport[][] = [];
    const onWorkers = (reports: readonly WorkerReport[]) => void seen.push([...reports]);
    const two = await vae.encode(frames, { workers: 2, onWorkers });
    const pids = workersOf();
    expect(pids.length).toBe(2);
    const shown = await vae.decode(two, { workers: 2, onWorkers });
    expect(workersOf()).toEqual(pids); // the same processes, with their weights
    const one = await vae.encode(frames, { workers: 1, onWorkers });
    expect(await gone(pids)).toBeLessThan(5); // others of another number in their place
    expect(two).toEqual(one);
    expect(relativeL2(one.data, plain.data)).toBeLessThan(1e-5);
    expect(await vae.decode(one, { workers: 1, onWorkers })).toEqual(shown);
    // The posterior of a clip likewise, whose mean latents are.
    const pixels = fitFrames(frames, { width: size, height: size });
    const moments = await vae.posterior(pixels, { frames: 9, height: size, width: size }, { workers: 1, onWorkers: () => undefined });
    expect(fromVae(moments.mean, [1, vae.config.latent_channels, 3, 4, 4], vae.config.scaling_factor)).toEqual(one.data);
    const refused = (options: object) => vae.posterior(pixels, { frames: 9, height: size, width: size }, options);
    await expect(refused({ split: "space" })).rejects.toThrow(/a clip is split over workers, got split space without/);
    await expect(refused({ seed: 1 })).rejects.toThrow(/options must be among tiling, .*got "seed"/);
    const rows = await vae.decode(one, { workers: 2, split: "space" });
    const whole = await vae.decode(one);
    for (const split of [shown, rows]) {
      const worst = split.map((frame, f) => frame.data.reduce((most, v, i) => Math.max(most, Math.abs(v - whole[f]!.data[i]!)), 0));
      expect(Math.max(...worst)).toBeLessThanOrEqual(1);
    }
    // Three latent frames, one and two: the cut is in their only batch.
    expect(seen.map((reports) => reports.map(({ worker, from, to }) => [worker, from, to]))).toEqual([
      [
        [0, 0, 1],
        [1, 1, 3],
      ],
      [
        [0, 0, 1],
        [1, 1, 3],
      ],
      [[0, 0, 3]],
      [[0, 0, 3]],
    ]);
    for (const [i, [first, second]] of seen.slice(0, 2).entries()) {
      expect(first!.haloBytes).toBe(boundaryBytes(i === 0 ? "encode" : "decode"));
      expect(second!.haloBytes).toBe(0);
      expect(second!.normBytes).toBe(2 * first!.normBytes);
      expect(first!.deviceBytes).toBeLessThan(second!.deviceBytes);
    }
  });

  test("ends at once, and says which, where a worker dies; the next clip starts others", async () => {
    const latents: VideoLatents = {
      data: values(5 * vae.config.latent_channels * 64, 9),
      frames: 5,
      channels: vae.config.latent_channels,
      height: 8,
      width: 8,
    };
    const good = await vae.decode(latents, { workers: 2 });
    const pids = workersOf();
    expect(pids.length).toBe(2);
    let killed = 0;
    const broken = vae.decode(latents, {
      workers: 2,
      onProgress(done) {
        if (done < 0.2 || killed) return;
        killed = performance.now();
        process.kill(pids[1]!, "SIGKILL");
      },
    });
    await expect(broken).rejects.toThrow(
      "[vae] worker 2 of 2 must live until the clip is done, got its end with SIGKILL; the others were ended, run it again",
    );
    expect(performance.now() - killed).toBeLessThan(5000);
    expect(await gone(pids)).toBeLessThan(5);
    expect(await vae.decode(latents, { workers: 2 })).toEqual(good);
    // A signal ends them too.
    const again = workersOf();
    const controller = new AbortController();
    const stopped = vae.decode(latents, { workers: 2, signal: controller.signal, onProgress: () => controller.abort(new Error("enough")) });
    await expect(stopped).rejects.toThrow("enough");
    expect(await gone(again)).toBeLessThan(5);
  });
});

test("what cannot be split is refused before a process is started", async () => {
  const latents = {
    data: values(2 * vae.config.latent_channels * 4, 9),
    frames: 2,
    channels: vae.config.latent_channels,
    height: 2,
    width: 2,
  };
  const before = workersOf();
  await expect(vae.decode(latents, { workers: 3 })).rejects.toThrow("at most 2 for this one, got 3 workers");
  await expect(vae.decode(latents, { workers: 2, tiling: "exact" })).rejects.toThrow("got workers and tiling exact; leave one of them out");
  for (const workers of [0, 1.5, [], ["gpu"]])
    await expect(vae.decode(latents, { workers: workers as number })).rejects.toThrow(
      "workers must be a whole number from 1 up or a list of places",
    );
  await expect(vae.decode(latents, { split: "space" })).rejects.toThrow("got split space without; give workers too");
  expect(workersOf()).toEqual(before);
  // Workers open the checkpoint themselves.
  const files = ["vae/config.json", "vae/diffusion_pytorch_model.safetensors", "model_index.json"];
  const source = memorySource(Object.fromEntries(files.map((file) => [file, readFileSync(join(EMBEDDED, file))])));
  await using given = await VideoVae.open(source, { gpu: await testGpu(), dtype: "f32" });
  await expect(given.decode(latents, { workers: 2 })).rejects.toThrow(
    "[vae] workers open the checkpoint themselves, so it must be named by",
  );
  expect(workersOf()).toEqual(before);
});

test("the command splits a clip, tells what it took, and writes what one worker would", () => {
  const folder = mkdtempSync(join(tmpdir(), "cogwheel-workers-"));
  try {
    const latents = join(folder, "clip.safetensors");
    writeFileSync(
      latents,
      writeVideoLatents(
        { data: values(3 * vae.config.latent_channels * 16, 9), frames: 3, channels: vae.config.latent_channels, height: 4, width: 4 },
        {},
      ),
    );
    const run = (name: string, workers: string) =>
      spawnSync(process.execPath, [LAUNCHER, "vae", "decode", latents, "--out", join(folder, name), "--workers", workers], {
        encoding: "utf8",
        env: { ...process.env, NO_COLOR: "1" },
      });
    const two = run("two", "2");
    expect(two.stderr + two.stdout).toMatch(
      /worker 1: latent frame 0, gave [1-9]\d+ bytes of frames and [1-9]\d+ of norms, waited \d+ % of [\d.]+ s/,
    );
    expect(two.stderr + two.stdout).toMatch(/worker 2: latent frames 1 to 2, gave 0 bytes of frames and [1-9]\d+ of norms/);
    expect(two.status).toBe(0);
    expect(run("one", "1").status).toBe(0);
    expect(stateOf(join(folder, "two"))).toBe(stateOf(join(folder, "one")));
    const many = run("many", "4");
    expect(many.status).not.toBe(0);
    expect(many.stderr).toContain("at most 3 for this one, got 4 workers");
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
