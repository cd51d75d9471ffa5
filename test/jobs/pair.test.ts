/** Two workers on the steps of one job, each with a branch of guidance: bytes, what they exchange, and what is left when one is gone. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Gpu } from "../../src/gpu/gpu.ts";
import type { Job } from "../../src/jobs/job.ts";
import { planPair, planText } from "../../src/jobs/pair.ts";
import { readPair } from "../../src/jobs/partner.ts";
import { deleteExchange, StorePeer } from "../../src/jobs/store-peer.ts";
import { isOver, JobStore } from "../../src/jobs/store.ts";
import { CogVideoX } from "../../src/pipelines/cogvideox/pipeline.ts";
import { jobQueues, type TestQueue } from "../support/job-queues.ts";
import { jobWorker, type JobWorker, untilJob } from "../support/job-worker.ts";

const MODEL = resolve("models/moving-shapes");
const request = {
  kind: "text",
  model: "moving-shapes",
  prompt: "a red circle moving left",
  ...{ seed: 5, frames: 9, steps: 12, guidance: 4 },
  split: "guidance",
} as const;

let folder: string;
let gpu: Gpu;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "cogwheel-pair-"));
  gpu = await Gpu.open();
});
afterAll(async () => {
  await gpu[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
});

describe.each(jobQueues)("over %s", (where, open) => {
  let backend: TestQueue;
  let store: JobStore;
  let alone: string | undefined;
  beforeAll(async () => {
    backend = await open(folder);
    store = new JobStore(backend);
    await using _ = worker("alone");
    alone = (await until((await store.create({ request })).id, isOver)).output?.digest;
  }, 120_000);
  afterAll(async () => {
    await backend[Symbol.asyncDispose]();
    await backend.end?.();
  });

  const worker = (name: string): JobWorker =>
    jobWorker(store, name, {
      models: [{ name: "moving-shapes", open: (keep) => CogVideoX.open(MODEL, { gpu, keep }) }],
      ...{ previewMs: 0, sharesSteps: () => true },
    });

  const until = (id: string, ready: (job: Job) => boolean): Promise<Job> => untilJob(store, id, ready, 90_000);

  test("two give the bytes of one, for one prediction each way a step, and leave nothing", async () => {
    await using one = worker("one");
    await using two = worker("two");
    const { id } = await store.create({ request });
    const job = await until(id, isOver);
    expect(job.output?.digest, [...one.notes, ...two.notes].join("\n")).toBe(alone);
    const { steps, bytes, seconds, waitingSeconds } = job.shared!;
    expect(steps, "all but those before the partner was ready").toBeGreaterThan(0);
    await using model = await CogVideoX.open(MODEL, { gpu });
    const { configs } = model;
    // [1, 3, C, 8, 8] f32: 9 frames of 64 × 64.
    expect(bytes).toBe(steps * 2 * 4 * 3 * configs.vae.latent_channels * 8 * 8);
    expect(waitingSeconds).toBeLessThan(seconds);
    await expect
      .poll(async () => (await readPair(backend, id)) ?? (await backend.values.keys(`exchange.${id}`)).length, { timeout: 5000 })
      .toBe(0);
  }, 120_000);

  // The exchange is the same over both: what becomes of the job is tried over one.
  test.runIf(where === "a folder")(
    "a partner that is gone is done without, and a leader that is gone is followed by its partner",
    async () => {
      await using first = worker("first");
      const { id } = await store.create({ request: { ...request, steps: 60 } });
      let left: Job;
      {
        await using _ = worker("partner");
        left = await until(id, (job) => (job.shared?.steps ?? 0) >= 2);
        if (left.lease?.worker !== first.id) throw new Error("the first one leads");
      }
      await until(id, (job) => job.step >= left.step + 4);
      expect(first.notes.join("\n")).toMatch(/without partner-/);
      const second = worker("second");
      await until(id, (job) => (job.shared?.steps ?? 0) >= left.shared!.steps + 3);
      await first[Symbol.asyncDispose]();
      const job = await until(id, isOver);
      await second[Symbol.asyncDispose]();
      expect(job.attempts).toBeGreaterThan(1);
      const { id: same } = await store.create({ request: { ...request, steps: 60 } });
      await using _ = worker("again");
      expect(job.output?.digest).toBe((await until(same, isOver)).output?.digest);
    },
    180_000,
  );

  test("regions between two: in either order, large and small, more than there are slots, and until the signal", async () => {
    const bytes = (n: number, length: number) => new Uint8Array(length).map((_, i) => (i + n) % 251);
    {
      await using one = new StorePeer(backend, "exchange.x", 0, 2);
      await using two = new StorePeer(backend, "exchange.x", 1, 2);
      const early = two.get(0, "a");
      await one.put(1, "a", bytes(1, 2));
      const giving = Array.from({ length: 40 }, (_, n) => one.put(1, `r${n}`, bytes(n, n % 10 === 3 ? 1_000_000 : 10)));
      expect([...(await early)]).toEqual([1, 2]);
      for (let n = 0; n < 40; n++)
        expect(Buffer.compare(await two.get(0, `r${n}`), bytes(n, n % 10 === 3 ? 1_000_000 : 10)), `${n}`).toBe(0);
      await Promise.all(giving);
      await two.put(0, "back", bytes(7, 3));
      expect([...(await one.get(1, "back"))]).toEqual([7, 8, 9]);
      await one.put(0, "own", bytes(5, 1));
      expect([...(await one.get(0, "own"))]).toEqual([5]);
      await expect(two.get(0, "c", AbortSignal.timeout(100))).rejects.toThrow();
      await one.put(1, "unread", bytes(0, 1_000_000));
    }
    await deleteExchange(backend, "exchange.x");
    expect(await backend.values.keys("exchange.x")).toEqual([]);
    expect(await backend.blobs.size("exchange.x.1.0.9")).toBeUndefined();
  }, 30_000);
});

test("a plan says whether two are faster", () => {
  expect(planPair(4.5e6, 30, 0.1)).toMatchObject({ pays: true, seconds: 15.1 });
  expect(planPair(4.5e6, 30, 0.1).waitingShare).toBeCloseTo(0.0066, 4);
  expect(planPair(4.5e6, 0.1, 0.1).pays).toBe(false);
  // What workers waited before counts: it can make two slower than one.
  const uneven = planPair(4.5e6, 30, 0.1, 0.2);
  expect(uneven.seconds).toBeCloseTo(18.1, 9);
  expect(uneven.waitingShare).toBeCloseTo(3.1 / 18.1, 9);
  expect(planText(uneven)).toContain("3.100 s of them (17 %) to exchange 4.5 MB each way and to wait for who is slower, 3.000 s as before");
  expect(planPair(4.5e6, 30, 0.1, 1).pays).toBe(false);
});
