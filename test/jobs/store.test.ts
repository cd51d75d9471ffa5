/** Jobs in a store: made, listed, changed by several at once, cancelled, deleted, and found again where hints were lost. */
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { JobBackend } from "../../src/jobs/backend.ts";
import { openEmbedded } from "../../src/jobs/embedded-node.ts";
import { inputBlob, outputBlob, stateBlob, type Job } from "../../src/jobs/job.ts";
import { JobStore, newJobId } from "../../src/jobs/store.ts";

let folder: string;
let backend: JobBackend;
let store: JobStore;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "cogwheel-store-"));
  backend = await openEmbedded(folder);
  store = new JobStore(backend);
});
afterAll(async () => {
  await backend[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});
const request = { kind: "text", model: "moving-shapes", prompt: "a red circle" } as const;
const hints = (): Promise<string[]> => readdir(join(folder, "hints"));
const clear = async (): Promise<void> => {
  for (const { id } of (await store.list({ limit: 1000 })).jobs) await store.delete(id);
  for (const name of await hints()) await rm(join(folder, "hints", name));
};

test("a job is kept as it was asked for, with a seed, and hinted at", async () => {
  const [drawn, given] = [await store.create({ request, owner: "k" }), await store.create({ request: { ...request, seed: 7 } })];
  expect(await store.get(drawn.id)).toEqual(drawn);
  expect(drawn).toMatchObject({ status: "queued", owner: "k", attempts: 0, progress: 0, request });
  expect(drawn.request.seed).not.toBe((await store.create({ request })).request.seed);
  expect(given.request.seed).toBe(7);
  expect((await hints()).map((name) => name.slice(14))).toContain(drawn.id);
  await expect(store.create({ id: drawn.id, request })).rejects.toThrow(/must be new, got video_/);
  await expect(store.create({ id: "../x", request })).rejects.toThrow(/must be video_ and 32 hexadecimal digits/);
  expect(await store.get("../x")).toBeUndefined();
  const begun = await store.create({ request: { ...request, kind: "video" }, input: Uint8Array.of(1, 2) });
  expect(await backend.blobs.get(begun.request.input!)).toEqual(Uint8Array.of(1, 2));
  await clear();
});

test("a list is by age, of one owner, and goes on after a job that is no more", async () => {
  const made: Job[] = [];
  for (let n = 0; n < 40; n++) made.push(await store.create({ id: newJobId(1000 + n), request, owner: n % 2 ? "odd" : "even" }));
  const ids = (jobs: readonly Job[]): string[] => jobs.map(({ id }) => id);
  const odd = ids(made.filter((_, n) => n % 2)).reverse();
  const first = await store.list({ owner: "odd", limit: 15 });
  expect([ids(first.jobs), first.hasMore]).toEqual([odd.slice(0, 15), true]);
  await store.delete(odd[14]!);
  const rest = await store.list({ owner: "odd", limit: 15, after: odd[14]! });
  expect([ids(rest.jobs), rest.hasMore]).toEqual([odd.slice(15), false]);
  expect(ids((await store.list({ order: "asc", limit: 3 })).jobs)).toEqual(ids(made.slice(0, 3)));
  expect(await store.list({ owner: "nobody" })).toEqual({ jobs: [], hasMore: false });
  const all = await store.list({ limit: 39 });
  expect([all.jobs.length, all.hasMore]).toEqual([39, false]);
  await clear();
});

test("changes of several at once all count, and a change of none leaves it", async () => {
  const { id } = await store.create({ request });
  await Promise.all(Array.from({ length: 8 }, () => store.update(id, (job) => ({ ...job, attempts: job.attempts + 1 }))));
  expect((await store.get(id))?.attempts).toBe(8);
  const before = (await store.read(id))!.revision;
  expect((await store.update(id, () => undefined))?.attempts).toBe(8);
  expect((await store.read(id))!.revision).toBe(before);
  expect(await store.update(newJobId(), (job) => job)).toBeUndefined();
  await clear();
});

test("a cancelled job is failed by that code, and one that is over stays as it is", async () => {
  const { id } = await store.create({ request });
  await store.update(id, (job) => ({ ...job, status: "in_progress", lease: { worker: "w", until: Date.now() + 60_000 }, secondsLeft: 3 }));
  const watched: (string | undefined)[] = [];
  const watching = (async () => {
    for await (const job of store.follow(id, AbortSignal.timeout(5000))) watched.push(job?.error?.code ?? job?.status);
  })();
  await new Promise((done) => setTimeout(done, 50));
  const cancelled = (await store.cancel(id))!;
  expect(cancelled).toMatchObject({ status: "failed", error: { code: "cancelled" } });
  expect([cancelled.lease, cancelled.secondsLeft]).toEqual([undefined, undefined]);
  await watching;
  expect(watched, "who watches hears of it, and the watch ends").toEqual(["in_progress", "cancelled"]);
  await store.update(id, (job) => ({ ...job, status: "completed" }));
  expect((await store.cancel(id))?.status).toBe("completed");
  await clear();
});

test("a deleted job leaves nothing", async () => {
  const { id } = await store.create({ request, input: Uint8Array.of(1) });
  const output = { blob: `${outputBlob(id, "video")}-0123`, type: "video/mp4", bytes: 1, digest: "0123" };
  for (const name of [stateBlob(id), outputBlob(id, "thumbnail"), outputBlob(id, "spritesheet"), outputBlob(id, "preview"), output.blob])
    await backend.blobs.put(name, Uint8Array.of(1));
  await store.update(id, (job) => ({ ...job, output }));
  expect(await backend.blobs.size(inputBlob(id))).toBe(1);
  expect(await store.delete(id)).toBe(true);
  expect(await store.delete(id)).toBe(false);
  expect(await readdir(join(folder, "blobs"))).toEqual([]);
  await clear();
});

test("a sweep hints at jobs that nobody works on, and deletes those that are old", async () => {
  const lease = (until: number) => ({ worker: "w", until: Date.now() + until });
  const [queued, dead, living, done, old] = await Promise.all(Array.from({ length: 5 }, () => store.create({ request })));
  await store.update(dead!.id, (job) => ({ ...job, status: "in_progress", lease: lease(-1) }));
  await store.update(living!.id, (job) => ({ ...job, status: "in_progress", lease: lease(60_000) }));
  await store.update(done!.id, (job) => ({ ...job, status: "completed", completedAt: Date.now() }));
  await store.update(old!.id, (job) => ({ ...job, status: "failed", completedAt: Date.now() - 8 * 24 * 3600e3 }));
  for (const name of await hints()) await rm(join(folder, "hints", name)); // as if all had been lost
  expect(await store.sweep()).toEqual({ hinted: 2, deleted: 1 });
  expect((await hints()).map((name) => name.slice(14)).sort()).toEqual([queued!.id, dead!.id].sort());
  expect(await store.get(old!.id)).toBeUndefined();
  await clear();
});

test("what is stored and is no job is told, with the remedy", async () => {
  const id = newJobId();
  await backend.values.put(`job.${id}`, new TextEncoder().encode("{}"), 0);
  await expect(store.get(id)).rejects.toThrow(/the stored job video_\w+ must have its id, a status and a request/);
  const { id: other } = await store.create({ request });
  expect(
    (await store.list()).jobs.map((job) => job.id),
    "others are listed, and swept",
  ).toEqual([other]);
  expect(await store.sweep()).toEqual({ hinted: 1, deleted: 0 });
  expect(await store.delete(id), "the remedy works").toBe(true);
  await expect(store.get(id)).resolves.toBeUndefined();
});
