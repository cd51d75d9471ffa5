/** Training over the workers of a queue, in one process: whoever computes what, and whoever is lost, the bytes are those of one device. */
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { JobBackend } from "../../src/jobs/backend.ts";
import { openEmbedded } from "../../src/jobs/embedded-node.ts";
import { openNats } from "../../src/jobs/nats-node.ts";
import { Leader, ReplicaLeader } from "../../src/ranks/leader.ts";
import type { RankModel } from "../../src/ranks/rank-model.ts";
import { writeRecord } from "../../src/jobs/records.ts";
import { valueBytes, valueIn } from "../../src/ranks/arrays.ts";
import { microKey, parseHint, readShared, type SharedMicro } from "../../src/ranks/records.ts";
import type { LeaderOptions } from "../../src/ranks/task-leader.ts";
import { RankWorker } from "../../src/ranks/worker.ts";
import { ReplicaEngine } from "../../src/training/diloco/replica-engine.ts";
import type { ReplicaRecipe, ReplicaTask, ReplicaWorkers } from "../../src/training/diloco/replica-workers.ts";
import { trainingNeeds } from "../../src/training/needs.ts";
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

const DILOCO = { steps: 2, replicas: 3 };
const rounds: TrainOptions = { steps: 5, lora: { rank: 4 }, optimizer: { lr: 1e-2 }, diloco: DILOCO };
const leadsReplicas = (backend: JobBackend): ReplicaLeader =>
  new ReplicaLeader(backend, { id: "abcd", model: served, version: "1", accumulation: 3, signal: new AbortController().signal });
const runRounds = (workers?: ReplicaLeader, more: TrainOptions = {}) =>
  taken(model, tinyClips(model, 5), { ...rounds, ...(workers ? { diloco: { ...DILOCO, workers } } : {}), ...more });

test("rounds of replicas: whoever takes which or is lost, and whatever leader is killed, the bytes are those of one device", async () => {
  const one = await runRounds();
  const first = await taken(model, tinyClips(model, 5), rounds, 2);
  await using backend = await queue();
  {
    await using leader = leadsReplicas(backend);
    const running = runRounds(leader);
    await takesAndDies(backend, "lost");
    await using _ = workers(2, (i) => worker(backend, `worker-${i}`));
    const { saved, steps } = await running;
    expect(saved).toEqual(one.saved);
    expect([...leader.shares.values()].reduce((a, b) => a + b, 0)).toBe(9);
    const blobs = steps.map(({ round }) => round!);
    // The first round has no optimizer's states to go on from, and the last has one step less.
    expect(blobs[0]!.sent).toBeLessThan(blobs[1]!.sent);
    expect(blobs[2]!.sent).toBeLessThan(blobs[1]!.sent);
    expect(blobs[2]!.received).toBeGreaterThan(0.9 * blobs[0]!.received);
  }
  // The first leader has no time to tidy up, and its round is taken over with what came out of it.
  const lost = leadsReplicas(backend);
  await using broken = train(model, tinyClips(model, 5), { ...rounds, diloco: { ...DILOCO, workers: lost }, resume: first.saved });
  await using _ = worker(backend, "other");
  await broken[Symbol.asyncIterator]().next();
  await using leader = leadsReplicas(backend);
  expect((await runRounds(leader, { resume: first.saved })).saved).toEqual(one.saved);
  await leader[Symbol.asyncDispose]();
  await lost[Symbol.asyncDispose]();
  expect(await readdir(join(folder, `queue-${queues}`, "blobs"))).toEqual([]);
}, 60_000);

test("rounds within less memory, in full and packed, where frozen weights come and go for the larger of two clips", async () => {
  const deep = await tinyTransformer({ num_layers: 4 });
  const data = tinyClips(deep, 2, [
    [1, 2, 2],
    [3, 2, 4],
  ]);
  const shape = { clips: 1, frames: 3, height: 2, width: 4, textLength: deep.config.max_text_seq_length };
  const { config, weights, gpu } = deep;
  const options: TrainOptions = { steps: 2, lora: { rank: 4 }, diloco: { steps: 2, replicas: 1 } };
  const { peak } = trainingNeeds({ config, weights, dtype: "f32", caps: gpu.caps }, options, shape);
  const packs: TrainOptions = { steps: 2, full: true, packing: { budget: 24 }, diloco: { steps: 2, innerState: "fresh" } };
  for (const [of, how, memoryBytes] of [
    [deep, options, 0.5 * peak],
    [model, packs, undefined],
  ] as const) {
    let recipe: ReplicaRecipe;
    let outer: ReadonlyMap<string, Float32Array>;
    let tasks: readonly ReplicaTask[];
    let engine: ReplicaEngine | undefined;
    const replicas: ReplicaWorkers = {
      moved: { sent: 0, received: 0 },
      open: async (given) => void (recipe = JSON.parse(JSON.stringify(given)) as ReplicaRecipe),
      begin: async (weights, given) => void ([outer, tasks] = [weights, given]),
      async result(k) {
        // One for both replicas, as a worker has it that takes both.
        engine ??= new ReplicaEngine(gpu, of, recipe, memoryBytes);
        return await engine.run(tasks[k]!, outer);
      },
    };
    const alone = await taken(of, data, how);
    const apart = await taken(of, data, { ...how, diloco: { ...how.diloco!, workers: replicas } });
    engine?.[Symbol.dispose]();
    expect(apart.saved).toEqual(alone.saved);
  }
}, 60_000);

test("values travel as they are", async () => {
  const value = {
    a: [Float32Array.of(1, Number.NaN), { b: Int8Array.of(-1), c: new Map([["x", Uint32Array.of(7)]]) }],
    d: Infinity,
    e: "$",
    f: true,
  };
  expect(await valueIn(valueBytes(value))).toEqual(value);
});

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
