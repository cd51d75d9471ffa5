/** Two workers on the VAE's work of one job: bytes, what they exchange, and what is left when one is gone or hangs. */
import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { JobPlans } from "../../src/cli/queue-plan.ts";
import { Gpu } from "../../src/gpu/gpu.ts";
import { clipPlanText, planClip } from "../../src/jobs/clip.ts";
import { openEmbedded } from "../../src/jobs/embedded-node.ts";
import type { Job } from "../../src/jobs/job.ts";
import { PartnerHold, readPair } from "../../src/jobs/partner.ts";
import type { JobStage } from "../../src/jobs/stages.ts";
import { isOver, JobStore } from "../../src/jobs/store.ts";
import { waitsFor } from "../../src/jobs/waiting.ts";
import { livingWorkers } from "../../src/jobs/workers.ts";
import { CogVideoX } from "../../src/pipelines/cogvideox/pipeline.ts";
import { encodeVideo } from "../../src/video/encode.ts";
import { jobQueues, type TestQueue } from "../support/job-queues.ts";
import { jobWorker, type JobWorker, untilJob } from "../support/job-worker.ts";

const MODEL = resolve("models/moving-shapes");
const request = {
  kind: "text",
  ...{ model: "moving-shapes", prompt: "a red circle moving left", seed: 5 },
  ...{ width: 32, height: 32, frames: 9, steps: 2 },
} as const;

let folder: string;
let gpu: Gpu;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "cogwheel-clip-"));
  gpu = await Gpu.open();
});
afterAll(async () => {
  await gpu[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
});

describe.each(jobQueues)("over %s", (where, open) => {
  let backend: TestQueue;
  let store: JobStore;
  beforeAll(async () => {
    backend = await open(folder);
    store = new JobStore(backend);
  });
  afterAll(async () => {
    await backend[Symbol.asyncDispose]();
    await backend.end?.();
  });

  /** Other work of the machine must not look like a partner that hangs. */
  const worker = (name: string, leaseMs = 30_000, memoryBytes?: number, stages?: readonly JobStage[]): JobWorker => {
    const limit = memoryBytes === undefined ? {} : { memoryBytes };
    return jobWorker(store, name, {
      leaseMs,
      models: [{ name: "moving-shapes", open: (keep) => CogVideoX.open(MODEL, { gpu, keep: keep && !memoryBytes, ...limit }) }],
      ...{ previewMs: 0, keep: !memoryBytes, ...limit, ...(stages ? { stages } : {}) },
    });
  };
  const until = (id: string, ready: (job: Job) => boolean): Promise<Job> => untilJob(store, id, ready, 90_000);
  const nothingLeft = async (id: string): Promise<void> => {
    await expect
      .poll(async () => (await readPair(backend, id)) ?? (await backend.values.keys(`exchange.${id}`)).length, { timeout: 5000 })
      .toBe(0);
  };

  test.each(["vae-time", "vae-space"] as const)(
    "%s: two give the bytes of one, move what was planned, and leave nothing",
    async (split) => {
      const digests: (string | undefined)[] = [];
      await using one = worker("one");
      digests.push((await until((await store.create({ request: { ...request, split } })).id, isOver)).output?.digest);
      await using two = worker("two");
      await expect.poll(async () => (await backend.values.keys("worker.")).length).toBe(2);
      const { id } = await store.create({ request: { ...request, split } });
      const job = await until(id, isOver);
      digests.push(job.output?.digest);
      const notes = [...one.notes, ...two.notes].join("\n");
      expect(digests[1], notes).toBe(digests[0]);
      const [clip] = job.sharedClips ?? [];
      expect(clip, notes).toMatchObject({ part: "decode", axis: split.slice(4) });
      expect(clip!.bytes, "as planned").toBe(clip!.plannedBytes);
      expect(clip!.bytes).toBeGreaterThan(10_000);
      expect(clip!.waitingSeconds).toBeLessThan(clip!.seconds);
      expect(notes).toMatch(/to decode on two workers they exchange [\d.]+ MB in \d+ turns, [\d.]+ s: that pays where one takes more than/);
      await nothingLeft(id);
    },
  );

  // What becomes of the job is the same over both.
  test.runIf(where === "a folder")("a partner that is gone, and one that hangs, are done without", async () => {
    const bytes = async (join: (id: string) => Promise<unknown>): Promise<readonly [string | undefined, string]> => {
      await using one = worker("one", 2000);
      const { id } = await store.create({ request: { ...request, split: "vae-time" } });
      await join(id);
      const job = await until(id, isOver);
      await nothingLeft(id);
      return [job.output?.digest, one.notes.join("\n")];
    };
    const [alone] = await bytes(async () => undefined);
    /** A partner that says it is ready, and gives nothing. */
    const idle = async (id: string, stays: boolean): Promise<void> => {
      await until(id, (job) => job.lease !== undefined);
      const job = (await store.get(id))!;
      await using hold = (await PartnerHold.take(backend, job, "idle", 2000, AbortSignal.timeout(60_000), async () => undefined))!;
      await hold.ready(({ clip }) => clip);
      if (stays) await hold.over();
    };
    await backend.values.put(
      "worker.idle",
      encoded({ id: "idle", models: [{ name: "moving-shapes" }], at: Date.now() + 60_000, everyMs: 1e6 }),
      0,
    );
    const [gone, told] = await bytes((id) => idle(id, false));
    expect(gone, told).toBe(alone);
    expect(told).toMatch(/goes on without its partner: it was not heard of any more/);
    const [hung, said] = await bytes((id) => idle(id, true));
    expect(hung, said).toBe(alone);
    expect(said).toMatch(/goes on without its partner: nothing came for \d+ s/);
    await backend.values.delete("worker.idle", (await backend.values.get("worker.idle"))!.revision);
  });

  test.runIf(where === "a folder")(
    "a clip that is too large for a worker at once is cut for it, alone and with another; or left to others",
    async () => {
      // Frame batches of 3, 2 and 2 latents: 34.9 MB at once, 29.3 one after another; 27.4 without a split.
      const long = { ...request, frames: 25, steps: 1, split: "vae-time" } as const;
      const made = async (): Promise<Job> => await until((await store.create({ request: long })).id, isOver);
      let whole: Job;
      {
        await using _ = worker("roomy");
        whole = await made();
      }
      {
        await using cramped = worker("cramped", 30_000, 28e6);
        const { id } = await store.create({ request: long });
        const why = "needs 29.3 MB at the least (without --split 27.4 MB), has 28.0 MB";
        await expect
          .poll(async () => waitsFor((await store.get(id))!, await livingWorkers(backend.values))?.what, { timeout: 60_000 })
          .toBe(`a worker with more memory: ${cramped.id} ${why}`);
        await using small = worker("small", 30_000, 30e6);
        const alone = await until(id, isOver);
        expect(alone.output?.digest, small.notes.join("\n")).toBe(whole.output?.digest);
        expect(alone.sharedClips, "who has no room for a piece is no partner").toBeUndefined();
        expect(small.notes.join("\n")).toMatch(/decoded in pieces of 1 frame batch, as that takes 29\.3 MB/);
      }
      // Who only decodes does not take the job, and is there when there is something to decode.
      await using roomy = worker("roomy");
      await using _ = worker("small", 30_000, 30e6, ["decode"]);
      await expect.poll(async () => (await backend.values.keys("worker.")).length).toBe(2);
      const job = await made();
      const notes = roomy.notes.join("\n");
      expect(job.output?.digest, notes).toBe(whole.output?.digest);
      expect(notes).toMatch(/small-\w+ has 30\.0 MB: in pieces of 1 frame batch/);
      const [clip] = job.sharedClips ?? [];
      expect(clip?.bytes, notes).toBe(clip?.plannedBytes);
    },
    180_000,
  );

  test.runIf(where === "a folder")("what a job begins from is encoded by two as well", async () => {
    const frames = Array.from({ length: 9 }, (_, f) => ({
      ...{ width: 32, height: 32 },
      data: new Uint8Array(32 * 32 * 4).map((_, i) => (i % 4 === 3 ? 255 : (i * 7 + f * 20) % 256)),
    }));
    const input = await encodeVideo(frames, { format: "mp4", fps: 8 });
    const made = async (): Promise<Job> => {
      const { id } = await store.create({ request: { ...request, kind: "video", strength: 0.5, split: "vae-time" }, input });
      return await until(id, isOver);
    };
    await using _ = worker("one");
    const alone = await made();
    await using __ = worker("two");
    await expect.poll(async () => (await backend.values.keys("worker.")).length).toBe(2);
    const job = await made();
    expect(job.sharedClips?.map(({ part }) => part)).toEqual(["encode", "decode"]);
    expect(job.sharedClips!.every(({ bytes, plannedBytes }) => bytes === plannedBytes)).toBe(true);
    expect(job.output?.digest).toBe(alone.output?.digest);
  });
});

test("the command: what each split moves on a queue, and where it pays; no job is made", async () => {
  const queue = join(folder, "plans");
  const args = ["dist/launch.js", "queue", "add", "x", "--queue", queue, "--plan", "--json", "--size", "32x32", "--frames", "9"];
  const { stdout } = await promisify(execFile)(process.execPath, args);
  const { splits, bytesPerSecond } = JSON.parse(stdout) as JobPlans;
  expect(bytesPerSecond).toBeGreaterThan(0);
  expect(splits.map(({ split }) => split)).toEqual(["guidance", "vae-time", "vae-space"]);
  // [1, 3, C, 4, 4] f32, both ways.
  expect(splits[0]).toMatchObject({ turns: 1, bytes: 2 * 4 * 3 * 8 * 4 * 4 });
  for (const { bytes, exchangeSeconds, paysBeyondSeconds } of splits) {
    expect(bytes).toBeGreaterThan(0);
    expect(paysBeyondSeconds).toBe(2 * exchangeSeconds);
  }
  await using backend = await openEmbedded(queue);
  expect(await new JobStore(backend).ids()).toEqual([]);
});

const encoded = (record: object): Uint8Array => new TextEncoder().encode(JSON.stringify(record));

test("a plan says what is moved, and where that pays", () => {
  const bytes = { halo: 6e6, norm: 1e6, input: 1e6, output: 2e6, turns: 100 };
  const rates = { turnSeconds: 0.005, bytesPerSecond: 1e7 };
  const plan = planClip("decode", bytes, rates);
  expect(plan).toMatchObject({ exchangeSeconds: 1.5, pays: undefined });
  expect(clipPlanText(plan)).toBe(
    "to decode on two workers they exchange 10.0 MB in 100 turns, 1.50 s: that pays where one takes more than 3.0 s",
  );
  expect(planClip("decode", bytes, rates, { aloneSeconds: 10 })).toMatchObject({ pays: true, seconds: 6.5 });
  expect(clipPlanText(planClip("decode", bytes, rates, { aloneSeconds: 2 }))).toMatch(/: that does not pay$/);
  const uneven = planClip("decode", bytes, rates, { aloneSeconds: 10, uneven: 0.2 });
  expect(uneven.seconds).toBeCloseTo(7.5, 9);
  expect(clipPlanText(uneven)).toBe(
    "to decode takes one worker about 10.0 s, two 7.5 s: they exchange 10.0 MB in 100 turns, 1.50 s, and wait 20 % of their work " +
      "for each other, as before",
  );
});
