/** Clips and captions encoded by the workers of a queue: whoever encodes what, and whoever is lost, what is kept is what one process keeps. */
import { createHash } from "node:crypto";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { prepareTogether } from "../../src/data/encode.ts";
import { openClips, type ClipFolder } from "../../src/data/folder.ts";
import type { SharedEncodeTask, SharedEncoding } from "../../src/data/prepared.ts";
import { writeRecord } from "../../src/jobs/records.ts";
import type { OpenModel } from "../../src/jobs/other-work.ts";
import { CogVideoX } from "../../src/pipelines/cogvideox/pipeline.ts";
import { memorySource } from "../../src/sources/memory.ts";
import { EncodeDoer } from "../../src/tasks/encode-work.ts";
import { HERE, QueueEncoding } from "../../src/tasks/encoding.ts";
import { queuedTasks } from "../../src/tasks/lists.ts";
import { parseTaskHint, readTask, taskKey } from "../../src/tasks/records.ts";
import { TaskWork } from "../../src/tasks/work.ts";
import { encodeVideo } from "../../src/video/encode.ts";
import { testGpu } from "../support/gpu.ts";
import { jobQueues, type TestQueue } from "../support/job-queues.ts";
import { removeTinyCheckpoints, tinyCheckpoint } from "../support/tiny-checkpoint.ts";

const SIZES = { resolution: { width: 32, height: 16 }, frames: 5, fps: 8 };
const LEASE_MS = 600;
const NAME = "tiny";

let model: CogVideoX;
let other: CogVideoX;
let clips: ClipFolder;
let folder: string;
/** Digests of what one process keeps, by name. */
let alone: Record<string, string>;

beforeAll(async () => {
  const [gpu, configs] = [await testGpu(), { vae: { scaling_factor: 0.5 }, text_encoder: { num_heads: 4 } }];
  model = await CogVideoX.open(await tinyCheckpoint(), { gpu, dtype: "f32" });
  other = await CogVideoX.open(await tinyCheckpoint({ configs }), { gpu, dtype: "f32" });
  folder = await mkdtemp(join(tmpdir(), "cogwheel-tasks-"));
  clips = await films(5);
  await prepare(clips, join(folder, "alone"));
  alone = await kept(join(folder, "alone"));
}, 60_000);
afterAll(async () => {
  for (const one of [model, other]) await one[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
  await removeTinyCheckpoints();
});

/** Films of 8 frames, each of another shade. */
async function films(count: number): Promise<ClipFolder> {
  const files: Record<string, string | Uint8Array> = {};
  const lines: string[] = [];
  for (let n = 0; n < count; n++) {
    const frames = Array.from({ length: 8 }, (_, t) => ({ width: 32, height: 32, data: new Uint8Array(3 * 32 * 32).fill(10 * n + 3 * t) }));
    files[`${n}.gif`] = await encodeVideo(frames, { format: "gif", fps: 8 });
    lines.push(JSON.stringify({ file_name: `${n}.gif`, text: n % 2 ? "a red circle" : "a blue square" }));
  }
  return await openClips(memorySource({ ...files, "metadata.jsonl": lines.join("\n") }, "clips"));
}

async function prepare(of: ClipFolder, cache: string, sharing?: SharedEncoding) {
  const warnings: string[] = [];
  const onWarning = (message: string): void => void warnings.push(message);
  return { ...(await prepareTogether(model, of, { sizes: SIZES, cache, onWarning, ...(sharing ? { sharing } : {}) })), warnings };
}

async function kept(place: string): Promise<Record<string, string>> {
  const names = (await readdir(place)).sort();
  const digest = async (name: string) =>
    createHash("sha256")
      .update(await readFile(join(place, name)))
      .digest("hex");
  return Object.fromEntries(await Promise.all(names.map(async (name) => [name, await digest(name)])));
}

describe.each(jobQueues)("in %s", (where, open) => {
  let place: string;
  let queue: TestQueue;
  let count = 0;
  beforeEach(async () => {
    place = join(folder, `${where}-${++count}`.replace(/ /g, "-"));
    queue = await open(place);
  });
  afterEach(async () => {
    await queue[Symbol.asyncDispose]();
    await queue.end?.();
  });

  const asks = (version = "1", signal = new AbortController().signal): QueueEncoding =>
    new QueueEncoding(queue, model, { id: "abcd", version, model: NAME, at: "here", signal });

  /** Encoding of which this process does nothing before `gate` is over. */
  const gated = (encoding: QueueEncoding, gate: () => Promise<unknown>, more: Partial<SharedEncodeTask> = {}): SharedEncoding => ({
    share: (tasks, onDone) =>
      encoding.share(
        tasks.map((task) => ({
          ...task,
          ...more,
          async here() {
            await gate();
            await task.here();
          },
        })),
        onDone,
      ),
  });

  /** A worker that takes hints until it is disposed of. */
  function worker(name: string, { version = "1", serves = model, stored }: { version?: string; serves?: CogVideoX; stored?: string } = {}) {
    const ended = new AbortController();
    const notes: string[] = [];
    const work = new TaskWork(queue, { id: name, version, leaseMs: LEASE_MS, onNote: (note) => notes.push(note) }, [new EncodeDoer()]);
    const models: OpenModel[] = [{ served: { name: NAME, ...(stored ? { stored } : {}) }, model: serves }];
    const loop = (async () => {
      while (!ended.signal.aborted) await work.take(await queue.hints.pull(ended.signal), models, ended.signal, () => undefined);
    })().catch((error: unknown) => {
      if (!ended.signal.aborted) throw error;
    });
    return {
      notes,
      async [Symbol.asyncDispose]() {
        ended.abort();
        await loop;
        await work[Symbol.asyncDispose]();
      },
    };
  }

  /** A worker that takes a task and is never heard of again. */
  async function takesAndDies(): Promise<void> {
    const hint = await queue.hints.pull(AbortSignal.timeout(20_000));
    const { list, task } = parseTaskHint(hint.job)!;
    const { record, revision } = (await readTask(queue.values, taskKey(list, task)))!;
    await writeRecord(queue.values, taskKey(list, task), { ...record, lease: { worker: "lost", until: Date.now() + LEASE_MS } }, revision);
  }

  const isEmpty = async (): Promise<void> => {
    expect(await queue.values.keys("")).toEqual([]);
  };

  it("two workers and this process keep what one process keeps, and leave nothing in the queue", async () => {
    await using encoding = asks();
    await using _one = worker("one");
    await using _two = worker("two");
    const seen = expect.poll(() => encoding.shares.size, { timeout: 20_000 });
    const done = prepare(
      clips,
      join(place, "kept"),
      gated(encoding, () => expect.poll(() => encoding.shares.size, { timeout: 20_000 }).toBeGreaterThan(0)),
    );
    await seen.toBeGreaterThan(0);
    const [list] = await queuedTasks(queue.values);
    expect(list).toMatchObject({ id: "abcd", kind: "encode", model: NAME, at: "here", asked: true });
    await done;
    expect(await kept(join(place, "kept"))).toEqual(alone);
    expect([...encoding.shares.values()].reduce((a, b) => a + b, 0)).toBe(5 + 2);
    await encoding[Symbol.asyncDispose]();
    await isEmpty();
  }, 60_000);

  it("without a worker this process encodes all", async () => {
    await using encoding = asks();
    await prepare(clips, join(place, "kept"), encoding);
    expect(await kept(join(place, "kept"))).toEqual(alone);
    expect([...encoding.shares]).toEqual([[HERE, 7]]);
  }, 60_000);

  it("a worker is lost with its task, which another does", async () => {
    await using encoding = asks();
    const lost = takesAndDies();
    const gate = () => expect.poll(() => encoding.shares.get("other") ?? 0, { timeout: 30_000 }).toBeGreaterThan(3);
    const done = prepare(clips, join(place, "kept"), gated(encoding, gate));
    await lost;
    await using _ = worker("other");
    await done;
    expect(await kept(join(place, "kept"))).toEqual(alone);
    expect([...encoding.shares.keys()].sort()).toEqual([HERE, "other"]);
  }, 60_000);

  it("who asks is killed: what was encoded meanwhile is used when it is started again", async () => {
    // The first has no time to tidy up, as after a kill.
    const killed = asks();
    const dead = prepare(
      clips,
      join(place, "killed"),
      gated(killed, () => new Promise(() => undefined), { keep: () => new Promise(() => undefined) }),
    );
    dead.catch(() => undefined);
    {
      await using _ = worker("one");
      const results = async () => (await queue.values.keys("task.abcd.")).length;
      await expect.poll(results, { timeout: 20_000 }).toBe(5);
      const found = async () =>
        (await Promise.all((await queue.values.keys("task.abcd.")).map((key) => readTask(queue.values, key)))).filter(
          (one) => one?.record.result,
        ).length;
      await expect.poll(found, { timeout: 20_000 }).toBeGreaterThan(2);
    }
    await using encoding = asks();
    await prepare(clips, join(place, "kept"), encoding);
    expect(await kept(join(place, "kept"))).toEqual(alone);
    expect(encoding.shares.get("one")).toBeGreaterThan(2);
    await killed[Symbol.asyncDispose]();
  }, 60_000);

  if (where !== "a folder") return;

  it("what does not fit leaves the tasks to others, and says why", async () => {
    await using encoding = asks();
    await using weights = worker("weights", { serves: other });
    await using type = worker("type", { stored: "q8" });
    await using version = worker("version", { version: "2" });
    const workers = [weights, type, version];
    const gate = () => expect.poll(() => workers.every(({ notes }) => notes.length > 0), { timeout: 20_000 }).toBe(true);
    const done = prepare(clips, join(place, "kept"), gated(encoding, gate));
    await done;
    expect(await kept(join(place, "kept"))).toEqual(alone);
    expect([...encoding.shares]).toEqual([[HERE, 7]]);
    expect(weights.notes[0]).toBe("tasks.abcd: left to others: its tiny has another VAE than this worker's");
    expect(type.notes[0]).toBe("tasks.abcd: left to others: it computes in f32, and this worker in q8; start it with --dtype f32");
    expect(version.notes[0]).toBe("tasks.abcd: left to others: it is asked for by version 1, and this is 2");
  }, 60_000);

  it("a clip that a worker cannot read is left out by name; a result that is damaged on its way is made again", async () => {
    const many = await films(10);
    let spoilt = 0;
    const sharing = (encoding: QueueEncoding): SharedEncoding => ({
      share: (tasks, onDone) =>
        encoding.share(
          tasks.map((task) => ({
            ...task,
            ...("file" in task.task && task.task.file === "3.gif" && { input: async () => (spoilt++, new Uint8Array(100)) }),
            here: () =>
              expect
                .poll(() => encoding.shares.get("one") ?? 0, { timeout: 20_000 })
                .toBeGreaterThan(8)
                .then(task.here),
          })),
          onDone,
        ),
    });
    await using encoding = asks();
    await using one = worker("one");
    const { put } = queue.blobs;
    let damaged = 0;
    queue.blobs.put = async (name, bytes) => {
      const damages = name.includes(".result-") && damaged++ === 1;
      await put.call(queue.blobs, name, damages ? bytes.subarray(0, bytes.length - 4) : bytes);
    };
    const { broken, warnings, clips: whole } = await prepare(many, join(place, "kept"), sharing(encoding));
    expect([spoilt, whole.length, broken]).toEqual([1, 9, ["3.gif"]]);
    expect(warnings.join()).toMatch(/^\[data\] 3\.gif is left out, it cannot be read: \[video\] /);
    expect(one.notes).toEqual(["tasks.abcd: takes part (encode)"]);
    // The one that was damaged on its way was encoded again.
    expect(damaged).toBeGreaterThan(9);
  }, 60_000);

  it("a worker that fails leaves the list to others for a while; its reason is told", async () => {
    await using encoding = asks();
    await using failing = worker("failing");
    const { get } = queue.blobs;
    queue.blobs.get = async (name, ...range) => (name.includes(".input-") ? undefined : await get.call(queue.blobs, name, ...range));
    const reason = async () => (await queuedTasks(queue.values))[0]?.failure;
    let told: Promise<void> | undefined;
    const gate = () =>
      (told ??= expect.poll(reason, { timeout: 20_000 }).toMatch(/^failing: \[tasks\] a task must have what it is done with/));
    await prepare(clips, join(place, "kept"), gated(encoding, gate));
    expect(failing.notes[1]).toMatch(/it is left to others for 30 s$/);
    expect(await kept(join(place, "kept"))).toEqual(alone);
  }, 60_000);
});
