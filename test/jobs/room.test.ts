/** Jobs that are too large for a worker: they wait for one that has the memory, say so, and are refused where none has. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { JobBackend } from "../../src/jobs/backend.ts";
import { openEmbedded } from "../../src/jobs/embedded-node.ts";
import type { Job } from "../../src/jobs/job.ts";
import { JobStore } from "../../src/jobs/store.ts";
import { waitsFor } from "../../src/jobs/waiting.ts";
import { livingWorkers, type WorkerRecord } from "../../src/jobs/workers.ts";
import { Gpu } from "../../src/gpu/gpu.ts";
import type { MeasuredRates } from "../../src/gpu/rates.ts";
import { CogVideoX } from "../../src/pipelines/cogvideox/pipeline.ts";
import { useCommand } from "../support/command.ts";
import { jobServer } from "../support/job-server.ts";
import { jobWorker, untilJob, type JobWorker } from "../support/job-worker.ts";

const MODEL = resolve("models/moving-shapes");
const request = { kind: "text", model: "moving-shapes", prompt: "a red circle", seed: 5, frames: 9, steps: 1 } as const;
/** Takes 61.8 MB of the adapter at the least, where a job of the model's own size takes 27.5. */
const large = { ...request, width: 512, height: 512, frames: 49 };

/** As a probe measures them: all kernels compute and move so much a second. */
const rates: MeasuredRates = {
  kernels: { any: [1e6, 1e9].flatMap((work) => [1, 100].map((flops) => ({ flops: flops * work, bytes: work, seconds: work / 1e9 }))) },
  ...{ dispatchSeconds: 1e-5, runSeconds: 1e-3, bindSeconds: 1e-5, pipelineSeconds: 0.01, firstRunSeconds: 0, first: {}, loading: {} },
};

const command = useCommand();
let gpu: Gpu;
beforeAll(async () => {
  gpu = await Gpu.open();
});
afterAll(() => gpu[Symbol.asyncDispose]());

const worker = (store: JobStore, name: string, memoryBytes?: number, rates?: MeasuredRates): JobWorker => {
  const limit = memoryBytes === undefined ? {} : { memoryBytes };
  const open = async (keep: boolean): Promise<CogVideoX> => {
    const model = await CogVideoX.open(MODEL, { gpu, keep, ...limit });
    model.useRates(rates);
    return model;
  };
  return jobWorker(store, name, { models: [{ name: "moving-shapes", open }], ...limit });
};

describe("a queue", () => {
  let folder: string;
  let backend: JobBackend;
  let store: JobStore;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "cogwheel-room-"));
    backend = await openEmbedded(join(folder, "queue"));
    store = new JobStore(backend);
  });
  afterAll(async () => {
    await backend[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true });
  });

  test("a job waits for a worker that has the memory, says so, and holds up no other", async () => {
    const { id } = await store.create({ request: large });
    expect(waitsFor((await store.get(id))!, await livingWorkers(backend.values))?.what).toBe("a worker: none is there");
    await using small = worker(store, "small", 28e6, rates);
    const next = await store.create({ request });
    // Its parts together are more than the limit: it finds out, and keeps none.
    expect(await untilJob(store, next.id, ({ status }) => status === "completed")).toMatchObject({ attempts: 2 });
    await expect.poll(() => small.notes.join("\n")).toMatch(/left to others: it needs 61\.8 MB at the least, has 28\.0 MB/);
    const waiting = (await store.get(id))!;
    expect([waiting.status, waiting.attempts]).toEqual(["queued", 0]);
    const queue = ["--queue", join(folder, "queue")];
    const { out } = await command.run(["queue", "show", id, ...queue]);
    expect(out).toMatch(/waits +for a worker with more memory: small-\w+ needs 61\.8 MB at the least, has 28\.0 MB/);
    const [told] = (await livingWorkers(backend.values)).flatMap(({ models }) => models);
    expect(told!.seconds).toBeGreaterThan(0);
    expect((await command.run(["queue", "list", ...queue])).out).toMatch(
      /small-\w+: moving-shapes \(a video in about [\d:.]+ ?\w*\) on .* within 28\.0 MB/,
    );
    await using roomy = worker(store, "roomy");
    const taken = await untilJob(store, id, ({ lease }) => lease !== undefined);
    expect(taken.lease!.worker).toBe(roomy.id);
    await store.cancel(id);
  }, 180_000);
});

test("a server refuses what none of its workers has memory for, and takes it where none is known", async () => {
  await using server = await jobServer();
  const post = async (fields: object) => {
    const response = await fetch(`${server.url}/v1/videos`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ prompt: "a red circle", num_inference_steps: 1, ...fields }),
    });
    return [
      response.status,
      (await response.json()) as { id: string; waits_for: string; error: { message: string; code: string } },
    ] as const;
  };
  const asked = { size: "512x512", num_frames: 49 };
  const [, early] = await post(asked);
  expect(early).toMatchObject({ status: "queued", waits_for: "a worker: none is there" });
  await using small = worker(server.store, "small", 40e6);
  const waits = async () => ((await (await fetch(`${server.url}/v1/videos/${early.id}`)).json()) as { waits_for: string }).waits_for;
  await expect.poll(waits, { timeout: 20_000 }).toBe(`a worker with more memory: ${small.id} needs 61.8 MB at the least, has 40.0 MB`);
  const [status, { error }] = await post(asked);
  expect([status, error.code]).toEqual([400, "no_worker_has_room"]);
  expect(error.message).toMatch(
    /^a video must fit the memory of a worker, got 512 × 512 and 49 frames of moving-shapes: small-\w+ needs 61\.8 MB at the least, has 40\.0 MB; ask for a smaller/,
  );
  // Of another size nothing is known yet: the worker is asked. On a busy machine it may answer too late for the first request.
  await expect
    .poll(async () => (await post({ ...asked, num_frames: 65 }))[1], { timeout: 20_000, interval: 500 })
    .toMatchObject({ error: { code: "no_worker_has_room" } });
  const [, fits] = await post({ num_frames: 9 });
  await untilJob(server.store, fits.id, ({ status }) => status === "completed");
  await using _ = worker(server.store, "roomy");
  await expect.poll(async () => (await post(asked))[0], { timeout: 20_000, interval: 500 }).toBe(200);
  for (const { id } of (await server.store.list()).jobs) await server.store.cancel(id);
}, 90_000);

describe("what a job waits for", () => {
  const job = { status: "queued", step: 0, steps: 0, request: large, version: "1" } as Job;
  const record = (id: string, more: Partial<WorkerRecord> = {}): WorkerRecord =>
    ({ id, version: "1", models: [{ name: "moving-shapes", weights: { configs: "a" } }], ...more }) as WorkerRecord;
  const size = JSON.stringify(["moving-shapes", "text", 512, 512, 49, null]);
  const cramped = { room: { [size]: "needs 2 MB, has 1 MB" } };
  const others = [{ name: "other", weights: {} }] as unknown as WorkerRecord["models"];
  test.each<[string, readonly WorkerRecord[], Partial<Job>, string | undefined]>([
    ["one that is over", [], { status: "failed" }, undefined],
    ["one that is worked on", [], { lease: { worker: "a", until: Date.now() + 1e6 } }, undefined],
    ["a lease that ran out", [record("a")], { lease: { worker: "a", until: 5 } }, "the worker that can take it"],
    ["no workers", [], {}, "a worker: none is there"],
    ["another model", [record("a", { models: others })], {}, "a worker that serves moving-shapes: those that are there serve other"],
    [
      "another stage",
      [record("a", { stages: ["decode"] })],
      {},
      "a worker that does text of moving-shapes: those that are there do decode",
    ],
    [
      "other weights",
      [record("a")],
      { encoded: true, weights: { configs: "b" } },
      "a worker of version 1 with the weights that it was begun with: those of moving-shapes that are there are others",
    ],
    [
      "memory",
      [record("a", cramped), record("b", cramped)],
      {},
      "a worker with more memory: a needs 2 MB, has 1 MB, b needs 2 MB, has 1 MB",
    ],
    ["one of two", [record("a", cramped), record("b")], {}, "the worker that can take it"],
    ["either", [record("a", { room: { [size]: null } }), record("b")], {}, "one of 2 workers that can take it"],
  ])("%s", (_, workers, more, what) => {
    expect(waitsFor({ ...job, ...more }, workers)?.what).toBe(what);
  });
});
