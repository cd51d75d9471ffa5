/** Which of a machine's GPUs a worker takes: one that no other has, as long as the other is there. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { JobBackend } from "../../src/jobs/backend.ts";
import { openEmbedded } from "../../src/jobs/embedded-node.ts";
import { OwnAdapter, type Adapter } from "../../src/jobs/own-adapter-node.ts";

let folder: string;
let backend: JobBackend;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "cogwheel-own-"));
  backend = await openEmbedded(folder);
});
afterAll(async () => {
  await backend[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});
const gpu = (name: string): Adapter => ({ name, kind: "hardware" });
const cpu: Adapter = { name: "llvmpipe", kind: "software" };
const machine = [gpu("GPU 1"), gpu("GPU 2"), cpu];
const worker = (name: string, pid?: number): OwnAdapter => new OwnAdapter(backend.values, name, pid);
const held = (): Promise<string[]> => backend.values.keys("machine.");

test("each worker takes a GPU of its own, then the one that the fewest have, and gives it back", async () => {
  await using a = worker("a");
  await using b = worker("b");
  const both = await Promise.all([a.choose(machine), b.choose(machine)]);
  expect(both.map((one) => one?.name).sort(), "two that begin at once").toEqual(["GPU 1", "GPU 2"]);
  expect(both.flatMap((one) => one?.others ?? ["?"])).toEqual([]);
  {
    await using c = worker("c");
    await using d = worker("d");
    const first = both[0]!.name === "GPU 1" ? "a" : "b";
    expect(await c.choose(machine)).toEqual({ name: "GPU 1", others: [first] });
    expect((await d.choose(machine))?.name).toBe("GPU 2");
    expect((await worker("e").choose([gpu("GPU 1"), gpu("GPU 3")]))?.name, "a list of another order").toBe("GPU 3");
  }
  await using f = worker("f");
  expect((await f.choose(machine))?.others.length, "c gave it back").toBe(1);
});

test("one that its user chose is left to it, and what runs on the CPU is nobody's", async () => {
  await using a = worker("a");
  await a.has(gpu("GPU 5"));
  await a.has(gpu("GPU 5"));
  await a.has(cpu);
  await using b = worker("b");
  expect(await b.choose([gpu("GPU 5"), gpu("GPU 6"), cpu])).toEqual({ name: "GPU 6", others: [] });
  await using c = worker("c");
  expect(await c.choose([cpu]), "no GPU").toBeUndefined();
  await using d = worker("d");
  expect((await d.choose([cpu, gpu("GPU 5")]))?.name, "shared, and not left for the CPU").toBe("GPU 5");
});

test("a worker that was killed has nothing any more", async () => {
  const child = spawn(process.execPath, ["-e", "setInterval(() => {}, 1000)"], { stdio: "ignore" });
  await once(child, "spawn");
  const before = (await held()).length;
  expect(await worker("killed", child.pid).choose([gpu("GPU 9")])).toEqual({ name: "GPU 9", others: [] });
  {
    await using a = worker("a");
    expect((await a.choose([gpu("GPU 9")]))?.others).toEqual(["killed"]);
  }
  child.kill("SIGKILL");
  await once(child, "close");
  {
    await using a = worker("a");
    expect(await a.choose([gpu("GPU 9")])).toEqual({ name: "GPU 9", others: [] });
  }
  expect((await held()).length, "nobody has it").toBe(before);
});
