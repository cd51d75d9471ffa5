/** A disk that is full and a clock that is off: told with the remedy; jobs wait, and none is lost. */
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openEmbedded } from "../../src/jobs/embedded-node.ts";
import { openJobs } from "../../src/jobs/open-node.ts";
import { isOver, JobStore } from "../../src/jobs/store.ts";
import { untilJob } from "../support/job-worker.ts";
import { natsServer, startNats } from "../support/nats-server.ts";
import { queueWorker } from "../support/queue-worker.ts";
import { serveProcess } from "../support/serve-process.ts";
import { noDisks, smallDisk } from "../support/small-disk.ts";

const request = { kind: "text", model: "moving-shapes", prompt: "a red circle moving left", seed: 5, frames: 9, steps: 4 } as const;
const SLOW = { timeout: 90_000, interval: 100 };

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "cogwheel-trouble-"));
});
afterAll(() => rm(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 }));

const disks = await noDisks(join(tmpdir(), `cogwheel-disk-${process.pid}`));

describe.skipIf(disks)(`a full disk${disks === undefined ? "" : ` (needs a file system of its own: ${disks.split("\n")[0]!})`}`, () => {
  test("a worker says so and waits; when there is room again it makes what waits", async () => {
    await using disk = await smallDisk(join(folder, "disk"), 8_000_000);
    const queue = join(disk.path, "queue");
    await using backend = await openEmbedded(queue);
    const jobs = new JobStore(backend);
    const ids = [(await jobs.create({ request })).id, (await jobs.create({ request })).id];
    // Room for some values, not for what a generation leaves.
    await disk.fill(48_000);
    await using worker = queueWorker(".", queue);
    await expect
      .poll(() => worker.text(), SLOW)
      .toMatch(
        /must be one that files can be written in and linked, got ENOSPC: no space left on the disk in .*; make room, or .*jobs wait/,
      );
    // It tries again meanwhile, and neither fills what is left nor counts against the job.
    await disk.fill(0);
    await new Promise((done) => setTimeout(done, 4000));
    await expect(jobs.create({ request })).rejects.toThrow(/ENOSPC/);
    for (const id of ids) expect(isOver((await jobs.get(id))!), worker.text()).toBe(false);
    expect(await readdir(join(queue, "parts")), "what could not be written whole").toEqual([]);
    await disk.makeRoom();
    const made = [await untilJob(jobs, ids[0]!, isOver), await untilJob(jobs, ids[1]!, isOver)];
    expect(
      made.map(({ status }) => status),
      worker.text(),
    ).toEqual(["completed", "completed"]);
    expect(made[0]!.output!.digest).toBe(made[1]!.output!.digest);
    const bytes = (await backend.blobs.get(made[0]!.output!.blob))!;
    expect(bytes.length).toBe(made[0]!.output!.bytes);
    expect(worker.text()).toMatch(/The queue can be used again/);
    expect(await worker.end()).toBe(0);
  }, 180_000);

  test("a server answers 503 and goes on answering; a blob is whole or not there", async () => {
    await using disk = await smallDisk(join(folder, "served"), 4_000_000);
    const queue = join(disk.path, "queue");
    await using server = await serveProcess(["--queue", queue, "--no-worker"], folder);
    const ask = (): Promise<Response> =>
      fetch(`${server.url}/v1/videos`, {
        method: "POST",
        body: JSON.stringify({ prompt: "a red circle moving left" }),
        headers: { "content-type": "application/json" },
      });
    expect((await ask()).status).toBe(200);
    await disk.fill(0);
    const refused = await ask();
    expect([refused.status, refused.headers.get("retry-after")]).toEqual([503, "10"]);
    expect(await refused.json()).toMatchObject({ error: { code: "queue_unusable", type: "server_error" } });
    expect(server.said()).toMatch(/ENOSPC: no space left on the disk in .*; make room/);
    expect(((await (await fetch(`${server.url}/v1/videos`)).json()) as { data: unknown[] }).data.length).toBe(1);
    await disk.fill(100_000);
    await using backend = await openEmbedded(queue);
    // More than there is room for: the system writes a part of it and says so, without an error.
    await expect(backend.blobs.put("large", new Uint8Array(400_000).fill(7))).rejects.toThrow(/ENOSPC/);
    expect(await backend.blobs.size("large")).toBeUndefined();
    await disk.makeRoom();
    expect((await ask()).status).toBe(200);
  }, 60_000);
});

const nats = await natsServer();

test.skipIf(nats instanceof Error)(
  "a NATS server without room: a worker says so and waits, and goes on when there is more",
  async () => {
    const at = join(folder, "nats");
    await using server = await startNats(nats as string, at);
    const config = join(at, "nats.conf");
    const room = await readFile(config, "utf8");
    await writeFile(config, room.replace("sync_interval", "max_file_store: 20KB, sync_interval"));
    await server.restart();
    await using backend = await openJobs(server.url);
    const jobs = new JobStore(backend);
    const { id } = await jobs.create({ request });
    await using worker = queueWorker(".", server.url);
    await expect
      .poll(() => worker.text(), SLOW)
      .toMatch(
        /must have room for what it is given, got insufficient resources; make room on its disk, or raise max_file_store.*jobs wait/,
      );
    expect(isOver((await jobs.get(id))!)).toBe(false);
    await writeFile(config, room);
    await server.restart();
    expect((await untilJob(jobs, id, isOver, 90_000)).status, worker.text()).toBe("completed");
  },
  180_000,
);

const OTHER_CLOCK = pathToFileURL(resolve("test/support/other-clock.mjs")).href;
const DAY_MS = 24 * 3600e3;

test("a worker whose clock is off says so, takes nothing and deletes nothing, and works once it is set", async () => {
  const queue = join(folder, "clock");
  await using backend = await openEmbedded(queue);
  const jobs = new JobStore(backend);
  const { id: old } = await jobs.create({ request });
  await jobs.cancel(old);
  const { id } = await jobs.create({ request });
  // By the clock that is off nobody has had it for days.
  const lease = { worker: "another", until: Date.now() + 5_000 };
  await jobs.update(id, (job) => ({ ...job, status: "in_progress", lease }));
  const off = join(folder, "off");
  await writeFile(off, String(8 * DAY_MS));
  await using worker = queueWorker(".", queue, [], { NODE_OPTIONS: `--import ${OTHER_CLOCK}`, CLOCK_OFF: off });
  await expect
    .poll(() => worker.text(), SLOW)
    .toMatch(/this machine's clock must be within 0\.3 s of the queue's, got one that is 69120\d\.\d s ahead; set it, by NTP.*jobs wait/);
  await new Promise((done) => setTimeout(done, 2000));
  expect((await jobs.get(old))?.error?.code, "what is young is kept").toBe("cancelled");
  expect((await jobs.get(id))?.attempts).toBe(0);
  await writeFile(off, "0");
  expect((await untilJob(jobs, id, isOver)).status, worker.text()).toBe("completed");
}, 120_000);

test("a server whose clock is off says so, and deletes nothing that is young", async () => {
  const queue = join(folder, "served-clock");
  await using backend = await openEmbedded(queue);
  const jobs = new JobStore(backend);
  const { id } = await jobs.create({ request });
  await jobs.cancel(id);
  const off = join(folder, "server-off");
  await writeFile(off, String(-3600e3));
  await using server = await serveProcess(["--queue", queue, "--no-worker"], folder, {
    NODE_OPTIONS: `--import ${OTHER_CLOCK}`,
    CLOCK_OFF: off,
  });
  expect(server.said()).toMatch(
    /\[serve\] this machine's clock must be within 10\.0 s of the queue's, got one that is 3600\.0 s behind; set it/,
  );
  expect((await fetch(`${server.url}/v1/videos/${id}`)).status).toBe(200);
}, 60_000);
