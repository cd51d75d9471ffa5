/** Training over the workers of a queue, in one process: whoever computes what, and whoever is lost, the bytes are those of one device. */
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { JobBackend } from "../../src/jobs/backend.ts";
import { openEmbedded } from "../../src/jobs/embedded-node.ts";
import { openNats } from "../../src/jobs/nats-node.ts";
import { Leader, type LeaderOptions } from "../../src/ranks/leader.ts";
import type { RankModel } from "../../src/ranks/rank-model.ts";
import { writeRecord } from "../../src/jobs/records.ts";
import { microKey, parseHint, readShared, type SharedMicro } from "../../src/ranks/records.ts";
import { RankWorker } from "../../src/ranks/worker.ts";
import type { TrainOptions } from "../../src/training/options.ts";
import { train } from "../../src/training/train.ts";
import { natsServer, startNats } from "../support/nats-server.ts";
import { taken, tinyClips, tinyTransformer, type TinyTransformer } from "../support/tiny-training.ts";

const options: TrainOptions = { steps: 4, accumulation: 4, lora: { rank: 4 }, optimizer: { lr: 1e-2 } };
const LEASE_MS = 600;

let folder: string;
let model: TinyTransformer;
let served: RankModel;
let alone: Uint8Array;
let queues = 0;
const run = (workers?: Leader, more: TrainOptions = {}) =>
  taken(model, tinyClips(model, 5), { ...options, ...(workers ? { workers } : {}), ...more });
const queue = (): Promise<JobBackend> => openEmbedded(join(folder, `queue-${++queues}`));

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "cogwheel-ranks-"));
  model = await tinyTransformer();
  served = { name: "tiny", gpu: model.gpu, dtype: "f32", weights: "0123", transformer: async () => model };
  alone = (await run()).saved;
}, 60_000);
afterAll(() => rm(folder, { recursive: true, force: true }));

const leads = (backend: JobBackend, more: Partial<LeaderOptions> = {}): Leader =>
  new Leader(backend, { id: "abcd", model: served, version: "1", accumulation: 4, signal: new AbortController().signal, ...more });

/** A worker that takes hints until it is disposed. */
function worker(backend: JobBackend, name: string, { serves = served, version = "1" } = {}): AsyncDisposable & { notes: string[] } {
  const ended = new AbortController();
  const notes: string[] = [];
  const rank = new RankWorker(backend, { id: name, version, leaseMs: LEASE_MS, onNote: (note) => notes.push(note) });
  const loop = (async () => {
    while (!ended.signal.aborted) await rank.take(await backend.hints.pull(ended.signal), [serves], ended.signal);
  })().catch((error: unknown) => {
    if (!ended.signal.aborted) throw error;
  });
  return {
    notes,
    async [Symbol.asyncDispose]() {
      ended.abort();
      await loop;
      rank[Symbol.dispose]();
    },
  };
}

function workers(count: number, make: (i: number) => AsyncDisposable): AsyncDisposable {
  const all = Array.from({ length: count }, (_, i) => make(i));
  return {
    async [Symbol.asyncDispose]() {
      await Promise.all(all.map((one) => one[Symbol.asyncDispose]()));
    },
  };
}

/** A worker that takes a micro-step and is never heard of again. */
async function takesAndDies(backend: JobBackend, name: string): Promise<void> {
  const hint = await backend.hints.pull(AbortSignal.timeout(20_000));
  const { run, micro } = parseHint(hint.job)!;
  const found = (await readShared<SharedMicro>(backend.values, microKey(run, micro)))!;
  const lease = { worker: name, until: Date.now() + LEASE_MS };
  await writeRecord(backend.values, microKey(run, micro), { ...found.record, lease }, found.revision);
}

test.each([1, 2, 3])(
  "%i workers",
  async (count) => {
    await using backend = await queue();
    await using leader = leads(backend);
    await using _ = workers(count, (i) => worker(backend, `worker-${i}`));
    expect((await run(leader)).saved).toEqual(alone);
    const computed = [...leader.shares.values()];
    expect(computed.reduce((a, b) => a + b, 0)).toBe(16);
    expect(computed).toHaveLength(count);
  },
  60_000,
);

test("a worker is lost with its micro-step, which another computes", async () => {
  await using backend = await queue();
  await using leader = leads(backend);
  const running = run(leader);
  await takesAndDies(backend, "lost");
  await using _ = worker(backend, "other");
  expect((await running).saved).toEqual(alone);
  expect([...leader.shares.keys()]).toEqual(["other"]);
}, 60_000);

test("a leader is lost in the middle: another goes on with what was computed, and leaves nothing behind", async () => {
  await using backend = await queue();
  const first = new AbortController();
  // The first has no time to tidy up, as after a kill.
  const lost = leads(backend, { signal: first.signal });
  const broken = train(model, tinyClips(model, 5), { ...options, workers: lost });
  await using other = worker(backend, "other");
  let saved: Uint8Array | undefined;
  for await (const { step } of broken)
    if (step === 2) {
      saved = await broken.save();
      break;
    }
  const third = broken[Symbol.asyncIterator]().next();
  await third;
  await using leader = leads(backend);
  expect((await run(leader, { resume: saved! })).saved).toEqual(alone);
  await broken[Symbol.asyncDispose]();
  expect([...leader.shares.values()]).toEqual([8]);
  await leader[Symbol.asyncDispose]();
  first.abort();
  await lost[Symbol.asyncDispose]();
  const root = join(folder, `queue-${queues}`);
  expect(await readdir(join(root, "blobs"))).toEqual([]);
  expect(await backend.values.keys("")).toEqual([]);
  expect(other.notes).toEqual(["abcd: takes part in a training of tiny"]);
}, 60_000);

test("what does not fit a run leaves it to others, and says why", async () => {
  await using backend = await queue();
  await using leader = leads(backend);
  await using weights = worker(backend, "weights", { serves: { ...served, weights: "4567" } });
  await using type = worker(backend, "type", { serves: { ...served, dtype: "f16" } });
  await using name = worker(backend, "name", { serves: { ...served, name: "large", weights: "4567" } });
  await using version = worker(backend, "version", { version: "2" });
  const running = run(leader);
  await expect.poll(() => [weights, type, name, version].flatMap(({ notes }) => notes), { timeout: 20_000 }).toHaveLength(4);
  await using _ = worker(backend, "fitting");
  expect((await running).saved).toEqual(alone);
  expect([...leader.shares.keys()]).toEqual(["fitting"]);
  expect(weights.notes[0]).toBe("abcd: a training of tiny is left to others: its tiny has other weights than this worker's");
  expect(type.notes[0]).toMatch(/it computes in f32, and this worker in f16; start it with --dtype f32$/);
  expect(name.notes[0]).toMatch(/this worker has no tiny; start it with --model$/);
  expect(version.notes[0]).toMatch(/it is led by version 1, and this is 2$/);
}, 60_000);

test("a worker that fails leaves the run to another; where three fail the run ends with the reason", async () => {
  await using backend = await queue();
  const failing = { ...served, transformer: () => Promise.reject(new Error("no memory")) };
  {
    await using leader = leads(backend);
    const running = run(leader);
    await using broken = worker(backend, "broken", { serves: failing });
    await expect.poll(() => broken.notes, { timeout: 20_000 }).toHaveLength(2);
    await using _ = worker(backend, "whole");
    expect((await running).saved).toEqual(alone);
    expect(broken.notes[1]).toBe("abcd: no memory; it is left to others for 30 s");
  }
  await using leader = leads(backend);
  const running = run(leader);
  const outcome = running.then(String, String);
  await using _ = workers(6, (i) => worker(backend, `broken-${i}`, { serves: failing }));
  expect(await outcome).toMatch(
    /\[ranks\] a micro-step must be computed by one of the workers, got \d failures: broken-\d+: no memory; mend it/,
  );
}, 60_000);

test("a result that is damaged on its way is computed again", async () => {
  await using backend = await queue();
  await using leader = leads(backend);
  const { put } = backend.blobs;
  let damaged = 0;
  backend.blobs.put = async (name, bytes) => {
    const damages = name.includes(".result-") && damaged++ === 1;
    await put.call(backend.blobs, name, damages ? bytes.subarray(0, bytes.length - 4) : bytes);
  };
  await using _ = worker(backend, "one");
  expect((await run(leader)).saved).toEqual(alone);
  expect(damaged).toBe(17);
}, 60_000);

const nats = await natsServer();
test.skipIf(nats instanceof Error)(
  "over a NATS server that is killed and started again",
  async () => {
    await using server = await startNats(nats as string, join(folder, "nats"));
    await using backend = await openNats(server.url);
    await using leader = leads(backend);
    await using _one = worker(backend, "one");
    await using _two = worker(backend, "two");
    const broken = train(model, tinyClips(model, 5), { ...options, workers: leader });
    await using _ = broken;
    for await (const { step } of broken) if (step === 2) await server.restart();
    expect(await broken.save()).toEqual(alone);
  },
  120_000,
);
