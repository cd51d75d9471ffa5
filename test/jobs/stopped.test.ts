/** Two workers as processes on the steps of one job, one of which stands still for a while: its partner, or the one that leads. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { openEmbedded } from "../../src/jobs/embedded-node.ts";
import type { Job } from "../../src/jobs/job.ts";
import { readPair } from "../../src/jobs/partner.ts";
import { isOver, JobStore } from "../../src/jobs/store.ts";
import { untilJob } from "../support/job-worker.ts";
import { queueWorker } from "../support/queue-worker.ts";

const request = {
  kind: "text",
  ...{ model: "moving-shapes", prompt: "a red circle moving left", seed: 5 },
  ...{ frames: 9, steps: 80, guidance: 4 },
  split: "guidance",
} as const;

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "cogwheel-stopped-"));
});
afterAll(() => rm(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 }));

test("a partner that is stopped is done without, and a leader that is followed by its partner; both go on and harm nothing", async () => {
  await using backend = await openEmbedded(join(folder, "queue"));
  const store = new JobStore(backend);
  const until = (id: string, ready: (job: Job) => boolean): Promise<Job> => untilJob(store, id, ready, 120_000);
  const lease = ["--lease", "2"];
  await using one = queueWorker(folder, "queue", lease);
  const alone = await until((await store.create({ request })).id, isOver);
  await using two = queueWorker(folder, "queue", lease);
  await expect.poll(() => two.id(), { timeout: 60_000 }).toBeDefined();
  await expect.poll(async () => (await backend.values.keys("worker.")).length, { timeout: 60_000 }).toBe(2);
  const { id } = await store.create({ request });
  const words = (): string => `${one.text()}\n${two.text()}`;
  const shared = async (more: number): Promise<Job> => {
    const before = (await store.get(id))?.shared?.steps ?? 0;
    return await until(id, (job) => (job.shared?.steps ?? 0) >= before + more);
  };

  const first = await shared(2);
  const [leads, helps] = first.lease?.worker === one.id() ? [one, two] : [two, one];
  helps.stop();
  const without = await until(id, ({ step }) => step >= first.step + 6);
  expect(leads.text(), words()).toContain(`without ${helps.id()}`);
  expect([without.attempts, without.lease?.worker]).toEqual([1, leads.id()]);
  helps.goOn();
  await expect.poll(helps.text, { timeout: 30_000 }).toContain("no partner of its leader any more");

  await shared(2);
  leads.stop();
  const next = await until(id, ({ attempts }) => attempts === 2);
  expect(next.lease?.worker, words()).toBe(helps.id());
  await until(id, ({ step }) => step >= next.step + 2);
  leads.goOn();
  const job = await until(id, isOver);
  expect(job, words()).toMatchObject({ status: "completed", attempts: 2 });
  expect(job.output?.digest, words()).toBe(alone.output?.digest);
  await expect
    .poll(async () => (await readPair(backend, id)) ?? (await backend.values.keys(`exchange.${id}`)).length, { timeout: 10_000 })
    .toBe(0);
}, 280_000);
