/** `cogwheel train --queue` and its workers as processes, which are killed: the adapter is that of a run without them. */
import { spawnSync } from "node:child_process";
import { readdir, readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { LAUNCHER, useCommand } from "../support/command.ts";
import { runKilled, stateOf } from "../support/kill.ts";
import { openNats } from "../../src/jobs/nats-node.ts";
import { natsServer, startNats } from "../support/nats-server.ts";
import { type QueueWorker, queueWorker } from "../support/queue-worker.ts";

const nats = await natsServer();

const place = useCommand();
const common = [
  ...["--data", "clips", "--cache", "cache", "--resolution", "32x32", "--frames", "1", "--rank", "4"],
  ...["--steps", "4", "--accumulation", "3", "--checkpoint-every", "1"],
];

beforeAll(() => {
  const drawn = spawnSync(process.execPath, [resolve("dist/draw-clips.js"), "clips", "--clips", "4", "--frames", "5", "--size", "32"], {
    cwd: place.folder,
  });
  expect(drawn.status, String(drawn.stderr)).toBe(0);
}, 60_000);

/** The bytes that a run comes to. */
const result = (out: string): string[] =>
  ["checkpoint.safetensors", "pytorch_lora_weights.safetensors"].map((name) => stateOf(join(place.folder, out, name)));

const worker = (queue = "queue"): QueueWorker => queueWorker(place.folder, queue);

test("a worker and the leader are killed -9: the same bytes, and nothing is left in the queue", async () => {
  expect((await place.run(["train", ...common, "--out", "alone"])).code).toBe(0);
  await using lost = worker();
  const led = ["train", ...common, "--out", "led", "--queue", "queue"];
  const out = join(place.folder, "led");
  const killed = await runKilled([LAUNCHER, ...led], { at: { call: 24, folder: out }, cwd: place.folder });
  expect(killed.signal ?? killed.code, killed.text).not.toBe(0);
  expect(lost.text(), killed.text).toContain("takes part in a training of moving-shapes");
  await using other = worker();
  let killing: Promise<void> | undefined;
  const ended = await place.run([...led, "--json"], {}, (text) => {
    if (/Going on after step/.test(text)) killing ??= lost.kill();
  });
  await killing;
  expect(ended.code, ended.err).toBe(0);
  expect(ended.err).toMatch(/Going on after step [1-3] of 4/);
  expect(result("led")).toEqual(result("alone"));
  const { workers } = JSON.parse(ended.out) as { workers: Record<string, number> };
  expect(Object.values(workers).reduce((a, b) => a + b, 0)).toBeGreaterThan(0);
  expect(other.text()).toContain("takes part in a training of moving-shapes");
  expect(await readdir(join(place.folder, "queue/blobs"))).toEqual([]);
}, 180_000);

test("replicas' rounds by workers, one of which and the leader are killed -9: the bytes of a run in one process", async () => {
  const rounds = [...common.slice(0, -4), "--diloco", "2", "--replicas", "2", "--checkpoint-every", "2"];
  expect((await place.run(["train", ...rounds, "--out", "turns"])).code).toBe(0);
  await using lost = worker();
  const led = ["train", ...rounds, "--out", "rounds", "--queue", "queue"];
  const killed = await runKilled([LAUNCHER, ...led], { at: { call: 24, folder: join(place.folder, "rounds") }, cwd: place.folder });
  expect(killed.signal ?? killed.code, killed.text).not.toBe(0);
  await using _ = worker();
  let killing: Promise<void> | undefined;
  const ended = await place.run([...led, "--json"], {}, () => (killing ??= lost.kill()));
  await killing;
  expect(ended.code, ended.err).toBe(0);
  expect(result("rounds")).toEqual(result("turns"));
  expect(JSON.parse(ended.out)).toMatchObject({ steps: 4, exchanged: expect.any(Number) as number });
  expect(await readdir(join(place.folder, "queue/blobs"))).toEqual([]);
  const lines = (await readFile(join(place.folder, "rounds/log.jsonl"), "utf8")).trim().split("\n");
  expect(lines.map((line) => JSON.parse(line) as object)).toMatchObject([2, 4].map((step) => ({ step, round: { steps: 2, skipped: 0 } })));
  expect(await readFile(join(place.folder, "rounds/report.html"), "utf8")).toContain("exchanged a round, MB");
  const planned = await place.run([...led, "--plan"]);
  expect(planned.out).toMatch(/a round of 2 steps: .+ to each of 2 replicas, .+ from each, .+ in all and its clips; 2 steps whose/);
  const wrong = await place.run([...led, "--ema", "0.9"]);
  expect(wrong.err).toMatch(/an average is kept of steps that follow on each other, .+ got ema with it/);
}, 180_000);

test.skipIf(nats instanceof Error)(
  "the same rounds over NATS, a worker of which is killed -9",
  async () => {
    await using server = await startNats(nats as string, join(place.folder, "nats"));
    const rounds = [...common.slice(0, -4), "--diloco", "2", "--replicas", "2", "--checkpoint-every", "2"];
    expect((await place.run(["train", ...rounds, "--out", "in-one"])).code).toBe(0);
    await using lost = worker(server.url);
    await expect.poll(lost.text, { timeout: 60_000 }).toContain("Worker ");
    let other: QueueWorker | undefined;
    let killing: Promise<void> | undefined;
    const kill = async (): Promise<void> => {
      // In the middle of its round: it has taken one, and given nothing back.
      await expect.poll(lost.text, { timeout: 60_000, interval: 20 }).toContain("takes part in a training of moving-shapes");
      other = worker(server.url);
      await lost.kill();
    };
    const led = ["train", ...rounds, "--out", "over-nats", "--queue", server.url, "--json"];
    const ended = await place.run(led, {}, () => (killing ??= kill()));
    await killing;
    await other?.[Symbol.asyncDispose]();
    expect(ended.code, ended.err).toBe(0);
    expect(result("over-nats"), `${ended.err}\n${lost.text()}\n${other?.text()}`).toEqual(result("in-one"));
    expect(other?.text()).toContain("takes part in a training of moving-shapes");
    expect(JSON.parse(ended.out)).toMatchObject({ steps: 4, exchanged: expect.any(Number) as number });
    await using left = await openNats(server.url);
    expect([...(await left.values.keys("train.")), ...(await left.values.keys("micro."))]).toEqual([]);
  },
  240_000,
);

test("a run without workers says so, and is stopped by Ctrl-C; what it would send is told beforehand", async () => {
  const args = ["train", ...common, "--out", "lonely", "--queue", "queue-2"];
  let looked: Promise<Record<"list" | "json" | "show", string>> | undefined;
  const look = async () => {
    const at = async (...words: string[]) => (await place.run(["queue", ...words, "--queue", "queue-2"])).out;
    const list = await at("list");
    const json = await at("list", "--json");
    return { list, json, show: await at("show", /train_[0-9a-f]{8}/.exec(list)?.[0] ?? "none") };
  };
  const stopped = await place.run(args, {}, (text, child) => {
    if (/No worker has taken part yet; start `node \S+ worker` on this queue with the model moving-shapes/.test(text))
      looked ??= look().finally(() => child.kill("SIGINT"));
  });
  const { list, json, show } = await looked!;
  expect(list).toMatch(/train_[0-9a-f]{16} +under way, step 1 of 4 +0 of 3 computed, 0 by workers now +moving-shapes +\S+lonely\n/);
  const [run] = (JSON.parse(json) as { trainings: object[] }).trainings;
  expect(run).toMatchObject({ led: true, step: 1, steps: 4, waiting: 3, computing: [], trains: "an adapter" });
  expect(show).toMatch(/^train_[0-9a-f]{16}\n {2}status {2}under way, step 1 of 4\n/);
  expect(stopped.code, stopped.err).toBe(130);
  expect(stopped.err).toContain("Stopped after step 0; the same command goes on from there.");
  const planned = await place.run([...args, "--plan"]);
  expect(planned.out).toMatch(/over workers: [\d.]+ MB to each worker a step, and as much from each micro-step/);
}, 120_000);

test("clips are encoded by workers too; one is killed -9, then who trains: what is kept has the bytes of a run alone", async () => {
  const drawn = spawnSync(process.execPath, [resolve("dist/draw-clips.js"), "films", "--clips", "24", "--frames", "9", "--size", "64"], {
    cwd: place.folder,
  });
  expect(drawn.status, String(drawn.stderr)).toBe(0);
  const args = ["train", "--data", "films", "--resolution", "32x32", "--frames", "9", "--rank", "4", "--steps", "1"];
  expect((await place.run([...args, "--cache", "kept-alone", "--out", "encoded-alone"])).code).toBe(0);
  await using lost = worker("queue-3");
  await expect.poll(lost.text, { timeout: 30_000 }).toContain("takes jobs");
  const led = [...args, "--cache", "kept-led", "--out", "encoded-led", "--queue", "queue-3"];
  const killed = await runKilled([LAUNCHER, ...led], { at: { call: 12, folder: join(place.folder, "kept-led") }, cwd: place.folder });
  expect(killed.signal ?? killed.code, killed.text).not.toBe(0);
  await expect.poll(lost.text, { timeout: 30_000 }).toMatch(/tasks\.[0-9a-f]{16}: takes part \(encode\)/);
  const list = await place.run(["queue", "list", "--queue", "queue-3"]);
  expect(list.out).toMatch(/tasks_[0-9a-f]{16} +encode clips, captions +\S.*\d+ of 24, \d by workers now +moving-shapes +\S+encoded-led\n/);
  const show = await place.run(["queue", "show", /tasks_[0-9a-f]{8}/.exec(list.out)![0], "--queue", "queue-3"]);
  expect(show.out).toMatch(/^tasks_[0-9a-f]{16}\n {2}what {4}encode clips, captions\n {2}status {2}/);
  await lost.kill();
  await using _ = worker("queue-3");
  const ended = await place.run(led);
  expect(ended.code, ended.err).toBe(0);
  const bytes = async (folder: string) => {
    const names = (await readdir(join(place.folder, folder))).filter((name) => name.endsWith(".safetensors")).sort();
    return names.map((name) => [name, stateOf(join(place.folder, folder, name))]);
  };
  expect(await bytes("kept-led")).toEqual(await bytes("kept-alone"));
  expect(await readdir(join(place.folder, "queue-3/blobs"))).toEqual([]);
}, 180_000);
