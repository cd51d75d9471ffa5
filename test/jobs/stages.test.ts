/** One job on several workers, each with the weights of its stages alone; and samples of one prompt as jobs of their own. */
import { cp, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { sha256 } from "../../src/base/sha256.ts";
import type { JobBackend } from "../../src/jobs/backend.ts";
import { openEmbedded } from "../../src/jobs/embedded-node.ts";
import { embedsBlob, stateBlob, type Job, type JobRequest } from "../../src/jobs/job.ts";
import { canTake, COMPONENTS, nextStage, STAGES, type JobStage } from "../../src/jobs/stages.ts";
import { openJobs } from "../../src/jobs/open-node.ts";
import { isOver, JobStore } from "../../src/jobs/store.ts";
import { livingWorkers } from "../../src/jobs/workers.ts";
import { CogVideoX } from "../../src/pipelines/cogvideox/pipeline.ts";
import { encodeVideo } from "../../src/video/encode.ts";
import { Gpu } from "../../src/gpu/gpu.ts";
import { natsServer, startNats } from "../support/nats-server.ts";
import { jobWorker, type JobWorker, untilJob } from "../support/job-worker.ts";
import { type QueueWorker, queueWorker } from "../support/queue-worker.ts";

const MODEL = resolve("models/moving-shapes");
const request = { kind: "text", model: "moving-shapes", prompt: "a red circle moving left", seed: 5, frames: 9, steps: 4 } as const;

let folder: string;
let backend: JobBackend;
let store: JobStore;
let gpu: Gpu;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "cogwheel-stages-"));
  backend = await openEmbedded(join(folder, "queue"));
  store = new JobStore(backend);
  gpu = await Gpu.open();
  for (const stage of STAGES) await withWeightsOf(stage);
});
afterAll(async () => {
  await backend[Symbol.asyncDispose]();
  await gpu[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

const placeOf = (stage: JobStage): string => join(folder, stage, "moving-shapes");

/** A checkpoint with the weights of one stage's component, and the configs of all. */
async function withWeightsOf(stage: JobStage): Promise<void> {
  const others = STAGES.filter((one) => one !== stage).map((one) => COMPONENTS[one]);
  const isOthers = (path: string): boolean => /\.safetensors/.test(path) && others.some((component) => path.includes(`/${component}/`));
  await cp(MODEL, placeOf(stage), { recursive: true, filter: (path) => !isOthers(path) });
}

/** A worker of some stages in this process, until disposed. */
function worker(...stages: JobStage[]): JobWorker {
  const from = stages.length === 1 ? placeOf(stages[0]!) : MODEL;
  const weightsOf = stages.map((stage) => COMPONENTS[stage]);
  const served = { name: "moving-shapes", open: (keep: boolean) => CogVideoX.open(from, { gpu, keep, weightsOf }) };
  return jobWorker(store, stages.join("-"), { models: [served], stages });
}

const until = (id: string, ready: (job: Job) => boolean, at = store): Promise<Job> => untilJob(at, id, ready);

/** SHA-256 of what a generation of this request gives, by sample. */
async function undisturbed({ samples = 1, steps = request.steps as number } = {}): Promise<string[]> {
  await using model = await CogVideoX.open(MODEL, { gpu });
  const { kind: _, model: __, ...given } = request;
  const options = { ...given, steps };
  const { samples: made, settings, made: how } = await model.generate({ ...options, samples });
  // A job of one sample says nothing of others in its comment.
  const { samples: _count, ...alone } = how;
  return await Promise.all(
    made.map(async (frames) => sha256(await encodeVideo(frames, { format: "mp4", fps: settings.fps, made: alone }))),
  );
}

test("a job goes from a worker that encodes to one that denoises to one that decodes, to the bytes of one that does all", async () => {
  const [whole] = await undisturbed();
  const { id } = await store.create({ request });
  await using text = worker("text");
  const encoded = await until(id, (job) => job.encoded === true && !job.lease);
  expect(encoded).toMatchObject({ status: "queued", step: 0, attempts: 1 });
  await using denoise = worker("denoise");
  const denoised = await until(id, (job) => job.step === 4 && !job.lease);
  expect(denoised).toMatchObject({ status: "queued", attempts: 2 });
  expect((await livingWorkers(backend.values)).map(({ stages }) => stages?.join()).sort()).toEqual(["denoise", "text"]);
  await using decode = worker("decode");
  const job = await until(id, isOver);
  expect(job.output?.digest).toBe(whole);
  expect(Object.keys(job.weights!).sort(), "each left the digest of what it had").toEqual(["configs", "decode", "denoise", "text"]);
  const said = (): (string | undefined)[] =>
    [text, denoise, decode].map(({ notes }) => /(handed on for \w+|done) in/.exec(notes.join())?.[1]);
  await expect.poll(said).toEqual(["handed on for denoise", "handed on for decode", "done"]);
  for (const blob of [embedsBlob(id), stateBlob(id)]) expect(await backend.blobs.get(blob)).toBeUndefined();
}, 60_000);

test("whoever has more goes on from where it is; what was lost of a stage is done again", async () => {
  const [whole] = await undisturbed();
  const { id } = await store.create({ request });
  {
    await using _ = worker("text");
    await until(id, (job) => job.encoded === true && !job.lease);
  }
  // Its blob is lost: who only denoises leaves it, and who encodes does so again.
  await backend.blobs.delete(embedsBlob(id));
  {
    await using denoise = worker("denoise");
    await until(id, (job) => job.encoded === false && !job.lease);
    expect((await store.get(id))!.step).toBe(0);
    await using _ = worker("text");
    await until(id, (job) => job.step >= 1);
    expect(denoise.notes.join()).toMatch(/goes on from its prompt/);
    await until(id, (job) => job.step === 4 && !job.lease);
  }
  // A worker that died while it decoded: its lease runs out.
  await store.update(id, (job) => ({ ...job, status: "in_progress", lease: { worker: "dead", until: Date.now() + 500 } }));
  await using all = worker(...STAGES);
  expect((await until(id, isOver)).output?.digest).toBe(whole);
  expect(all.notes.join()).toMatch(/goes on from step 4 of 4/);
}, 60_000);

test("samples of one prompt are jobs that any worker takes, with the bytes that they have when they are made together", async () => {
  const together = await undisturbed({ samples: 2 });
  const ids: string[] = [];
  for (const index of [0, 1]) ids.push((await store.create({ request: { ...request, sample: { index, of: 2 } } })).id);
  await using _ = worker(...STAGES);
  const apart: (string | undefined)[] = [];
  for (const id of ids) apart.push((await until(id, isOver)).output?.digest);
  expect(apart).toEqual(together);
  expect(apart[0]).not.toBe(apart[1]);
}, 60_000);

test("which stage is next, and who takes it", () => {
  const of = (kind: JobRequest["kind"], step: number, encoded: boolean) => ({
    step,
    steps: step ? 4 : 0,
    encoded,
    request: { ...request, kind },
  });
  expect([of("text", 0, false), of("text", 0, true), of("text", 2, false), of("text", 4, false)].map(nextStage)).toEqual([
    "text",
    "denoise",
    "text",
    "decode",
  ]);
  const takes = (stages: JobStage[], job: ReturnType<typeof of>) => canTake(new Set(stages), job);
  expect(takes(["denoise"], of("text", 0, true))).toBe(true);
  expect(takes(["denoise"], of("image", 0, true)), "its picture is encoded with the VAE").toBe(false);
  expect(takes(["denoise", "decode"], of("image", 0, true))).toBe(true);
  expect(takes(["denoise"], of("image", 1, true))).toBe(true);
  expect(takes(["text", "denoise"], of("text", 4, true))).toBe(false);
});

const servers = await natsServer();
const queues = [
  ["a folder", async () => ({ url: join(folder, "kills"), [Symbol.asyncDispose]: async () => undefined })],
  ...(servers instanceof Error ? [] : ([["NATS", async () => startNats(servers, join(folder, "nats"))]] as const)),
] as const;

test.each(queues)(
  "the command over %s: one that denoises is killed -9, another goes on, and none has the weights of all",
  async (_, open) => {
    await using place = await open();
    const { url: queue } = place;
    await using there = await openJobs(queue);
    const jobs = new JobStore(there);
    const { id } = await jobs.create({ request: { ...request, steps: 8 } });
    const { id: same } = await jobs.create({ request: { ...request, steps: 8 } });
    const command = (stage: JobStage): QueueWorker => queueWorker(".", queue, ["--model", placeOf(stage), "--stages", stage]);
    await using text = command("text");
    await using lost = command("denoise");
    await until(id, (job) => job.step >= 3, jobs);
    await lost.kill();
    await using second = command("denoise");
    await using decoder = command("decode");
    const digests = [await until(id, isOver, jobs), await until(same, isOver, jobs)].map(({ output }) => output!.digest);
    await Promise.all([text, second, decoder].map((worker) => worker[Symbol.asyncDispose]()));
    expect(digests, "as one worker makes it").toEqual(Array(2).fill((await undisturbed({ steps: 8 }))[0]));
    expect(text.text()).toMatch(/does text of jobs for moving-shapes/);
    expect(second.text()).toMatch(new RegExp(`${id}: goes on from step [3-8] of 8`));
    for (const one of [id, same])
      for (const blob of [embedsBlob(one), stateBlob(one)]) expect(await there.blobs.size(blob)).toBeUndefined();
  },
  120_000,
);

test("a model without the weights of a stage says so, and the command refuses stages that are none", async () => {
  await using model = await CogVideoX.open(placeOf("denoise"), { gpu, weightsOf: ["transformer"] });
  const { kind: _, model: __, ...options } = request;
  await expect(model.generate(options)).rejects.toThrow(/text_encoder/);
  const embeds = new Float32Array(8);
  await expect(model.generate({ ...options, share: { promptEmbeds: embeds, latentsOnly: true } })).rejects.toThrow(
    /promptEmbeds must be \[2, .* got 8/,
  );
  await expect(model.generate({ ...options, share: { sample: { index: 2, of: 2 } } })).rejects.toThrow(/got 2 of 2/);
  await expect(CogVideoX.open(placeOf("denoise"), { gpu })).rejects.toThrow(/text_encoder|vae/);
}, 30_000);
