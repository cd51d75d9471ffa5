/** A worker on the embedded model: what comes out, how it stops, what it does not take, and what is left when it is killed. */
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { sha256 } from "../../src/base/sha256.ts";
import type { JobBackend } from "../../src/jobs/backend.ts";
import { openEmbedded } from "../../src/jobs/embedded-node.ts";
import { embedsBlob, outputBlob, stateBlob, type Job } from "../../src/jobs/job.ts";
import { isOver, JobStore, type NewJob } from "../../src/jobs/store.ts";
import { livingWorkers } from "../../src/jobs/workers.ts";
import { CogVideoX } from "../../src/pipelines/cogvideox/pipeline.ts";
import { decodeVideo } from "../../src/video/decode.ts";
import { encodeVideo } from "../../src/video/encode.ts";
import { jobWorker, type JobWorker, untilJob } from "../support/job-worker.ts";
import { queueWorker } from "../support/queue-worker.ts";

const MODEL = resolve("models/moving-shapes");
const request = { kind: "text", model: "moving-shapes", prompt: "a red circle moving left", seed: 5, frames: 9, steps: 4 } as const;

let folder: string;
let backend: JobBackend;
let store: JobStore;
let model: CogVideoX;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "cogwheel-worker-"));
  backend = await openEmbedded(join(folder, "queue"));
  store = new JobStore(backend);
  model = await CogVideoX.open(MODEL);
});
afterAll(async () => {
  await backend[Symbol.asyncDispose]();
  await model[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

/** A worker in this process, until disposed. */
const worker = (leaseMs = 2000): JobWorker =>
  jobWorker(store, "test", {
    models: [{ name: "moving-shapes", open: (keep) => CogVideoX.open(MODEL, { gpu: model.gpu, keep }) }],
    ...{ leaseMs, previewMs: 1 },
  });

const until = (id: string, ready: (job: Job) => boolean, at = store): Promise<Job> => untilJob(at, id, ready);

describe("in this process", () => {
  /** SHA-256 of what `generate` makes of the request. */
  let undisturbed: string;
  beforeAll(async () => {
    const { kind: _, model: __, ...options } = request;
    const made = await model.generate(options);
    undisturbed = await sha256(await encodeVideo(made.frames, { format: "mp4", fps: made.settings.fps, made: made.made }));
    model.release();
  }, 60_000);

  test("what was reached of a job that is over, by a worker that was killed or late, goes with its hint", async () => {
    const { id } = await store.create({ request });
    {
      await using _ = worker();
      await until(id, isOver);
    }
    for (const name of [stateBlob(id), embedsBlob(id)]) await backend.blobs.put(name, new Uint8Array(8));
    await backend.hints.push(id);
    await using _ = worker();
    for (const name of [stateBlob(id), embedsBlob(id)])
      await expect.poll(() => backend.blobs.size(name), { timeout: 30_000 }).toBeUndefined();
    expect((await store.get(id))!.status).toBe("completed");
  });

  test("a job becomes the video that generate makes, with a thumbnail and a sheet of frames", async () => {
    await using _ = worker();
    const { id } = await store.create({ request });
    const seen: [number, number][] = [];
    const job = await until(id, (one) => {
      seen.push([one.step, one.progress]);
      return isOver(one);
    });
    expect(job).toMatchObject({ status: "completed", step: 4, steps: 4, progress: 100, attempts: 1, version: "test" });
    expect([job.lease, job.secondsLeft, job.error]).toEqual([undefined, undefined, undefined]);
    expect(job.output?.digest).toBe(undisturbed);
    const bytes = (await backend.blobs.get(job.output!.blob))!;
    expect([await sha256(new Uint8Array(bytes)), bytes.length, job.output!.type]).toEqual([undisturbed, job.output!.bytes, "video/mp4"]);
    const size = async (what: "thumbnail" | "spritesheet"): Promise<number[]> => {
      const { width, height, frames } = await decodeVideo((await backend.blobs.get(outputBlob(id, what)))!);
      return [width, height, frames.length];
    };
    expect(await size("thumbnail")).toEqual([64, 64, 1]);
    expect(await size("spritesheet"), "9 frames in rows of four").toEqual([256, 192, 1]);
    expect(await backend.blobs.get(stateBlob(id)), "the state is of no use any more").toBeUndefined();
    expect(await backend.blobs.get(outputBlob(id, "preview"))).toBeUndefined();
    expect(
      seen.some(([step, progress]) => step > 0 && step < 4 && progress > 0 && progress < 100),
      JSON.stringify(seen),
    ).toBe(true);
    const [record] = await livingWorkers(backend.values);
    expect(record).toMatchObject({ models: [{ name: "moving-shapes", weights: job.weights, takes: "text" }] });
  }, 60_000);

  test("a worker that is stopped gives its job back, and another goes on to the same bytes", async () => {
    const { id } = await store.create({ request });
    {
      await using _ = worker();
      await until(id, (job) => job.step >= 2);
      expect(await backend.blobs.size(outputBlob(id, "preview")), "a preview is there").toBeGreaterThan(100);
    }
    const stopped = (await store.get(id))!;
    expect(stopped).toMatchObject({ status: "queued", attempts: 1 });
    expect(stopped.lease).toBeUndefined();
    expect(await livingWorkers(backend.values), "it took its leave").toEqual([]);
    await using second = worker();
    const job = await until(id, isOver);
    expect([job.output?.digest, job.attempts]).toEqual([undisturbed, 2]);
    expect(second.notes.join("\n")).toMatch(new RegExp(`goes on from step [${stopped.step}-4] of 4`));
  }, 60_000);

  test("a cancelled job stops at once, and so does one that was deleted or is another's by now; the next one is made", async () => {
    await using held = worker();
    const long = { ...request, steps: 200 };
    // One after another: that is their order in the queue.
    const [cancelled, deleted, taken] = [
      await store.create({ request: long }),
      await store.create({ request: long }),
      await store.create({ request: long }),
    ];
    const next = await store.create({ request });
    await until(cancelled.id, (job) => job.step >= 1);
    await store.cancel(cancelled.id);
    await until(deleted.id, (job) => job.step >= 1);
    await store.delete(deleted.id);
    await until(taken.id, (job) => job.step >= 1);
    const thief = { worker: "thief", until: Date.now() + 60_000 };
    await store.update(taken.id, (job) => ({ ...job, lease: thief }));
    expect((await until(next.id, isOver)).output?.digest).toBe(undisturbed);
    expect((await store.get(cancelled.id))!).toMatchObject({ status: "failed", error: { code: "cancelled" } });
    const left = (await store.get(taken.id))!;
    expect(left.lease, "what another has is left to it").toEqual(thief);
    expect(left.step).toBeLessThan(150);
    expect(
      (await readdir(join(folder, "queue/blobs"))).filter((name) => name.includes(deleted.id)),
      "nothing is left of it",
    ).toEqual([]);
    expect(held.notes.filter((note) => /the work on it stops here/.test(note)).length).toBe(3);
    for (const { id } of [cancelled, taken]) await store.delete(id);
  }, 60_000);

  test("a job that was begun with other weights, or by another version, is left alone; one without a step is begun anew", async () => {
    const begun = async (more: Partial<Job>): Promise<string> => {
      const { id } = await store.create({ request });
      await store.update(id, (job) => ({ ...job, status: "queued", steps: 4, version: "test", ...more }));
      return id;
    };
    const others = { configs: "others" };
    const weights = await begun({ weights: others, step: 2 });
    const version = await begun({ weights: others, version: "9", step: 1 });
    const fresh = await begun({ weights: others, step: 0 });
    // A state that such a worker left is not gone on from either.
    await backend.blobs.put(stateBlob(fresh), Uint8Array.of(1, 2, 3));
    await using _ = worker();
    expect((await until(fresh, isOver)).output?.digest).toBe(undisturbed);
    for (const id of [weights, version]) {
      expect((await store.get(id))!).toMatchObject({ status: "queued", attempts: 0, weights: others });
      await store.delete(id);
    }
  }, 60_000);

  test("what cannot be served is failed with the rule, and so is a job that takes its workers down", async () => {
    await using _ = worker();
    const failed = async (more: Partial<NewJob["request"]>, input?: Uint8Array): Promise<Job["error"]> => {
      const { id } = await store.create({ request: { ...request, ...more }, ...(input ? { input } : {}) });
      return (await until(id, (job) => job.status === "failed")).error;
    };
    expect(await failed({ width: 20 })).toMatchObject({
      code: "invalid_request",
      message: expect.stringMatching(/multiples of 16, got width 20/),
    });
    expect(await failed({ kind: "image" })).toMatchObject({
      code: "invalid_request",
      message: expect.stringMatching(/must have one, got none/),
    });
    expect(await failed({ kind: "image" }, Uint8Array.of(1, 2, 3))).toMatchObject({ code: "invalid_request" });
    const { id } = await store.create({ request });
    await store.update(id, (job) => ({ ...job, fruitless: 8 }));
    expect((await until(id, (job) => job.status === "failed")).error?.message).toMatch(/8 workers began the job/);
  }, 60_000);
});

test("a worker is killed -9 in the middle: another goes on from its last step, to the bytes of an undisturbed run", async () => {
  const queue = join(folder, "kills");
  await using there = await openEmbedded(queue);
  const jobs = new JobStore(there);
  const { id } = await jobs.create({ request: { ...request, steps: 8 } });
  await using first = queueWorker(".", queue);
  await until(id, (job) => job.step >= 3, jobs);
  await first.kill();
  const killed = (await jobs.get(id))!;
  expect(killed, "killed while it worked").toMatchObject({ status: "in_progress", attempts: 1 });
  const other = await jobs.create({ request: { ...request, steps: 8 } });
  await using second = queueWorker(".", queue);
  const job = await until(id, isOver, jobs);
  const same = await until(other.id, isOver, jobs);
  await second[Symbol.asyncDispose]();
  expect(job).toMatchObject({ status: "completed", attempts: 2 });
  expect(job.output!.digest).toBe(same.output!.digest);
  const from = Number(new RegExp(`${id}: goes on from step (\\d) of 8`).exec(second.text())?.[1]);
  expect(from, `of all steps that were saved none is done again:\n${second.text()}`).toBeGreaterThanOrEqual(killed.step);
  expect(second.text()).toContain(`${other.id}: begins`);
}, 120_000);
