/** The lock of a run's folder: held by who lives, taken over from who was killed. */
import { spawn } from "node:child_process";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { RunLock } from "../../src/cli/run-lock.ts";

let folder: string;
let path: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "cogwheel-lock-"));
  path = join(folder, "run.lock");
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});
const holder = (pid: number, more: object = {}): string => JSON.stringify({ pid, host: hostname(), began: "", ...more });
const began = async (pid: number): Promise<string> => (await readFile(`/proc/${pid}/stat`, "utf8")).split(") ").at(-1)!.split(" ")[19]!;

test("one of many gets it, it is refused while it is held, and nothing is left behind", async () => {
  const all = await Promise.allSettled(Array.from({ length: 12 }, () => RunLock.take(path)));
  const got = all.filter((one) => one.status === "fulfilled");
  expect(got.length).toBe(1);
  await expect(RunLock.take(path)).rejects.toThrow(
    new RegExp(`one process works in a folder at a time, got .*run.lock of process ${process.pid}`),
  );
  await got[0]!.value[Symbol.asyncDispose]();
  await (await RunLock.take(path))[Symbol.asyncDispose]();
  expect(await readdir(folder)).toEqual([]);
});

test("a process that was killed, one of another with its number, and a damaged file hold nothing", async () => {
  const child = spawn(process.execPath, ["-e", "setTimeout(() => {}, 60000)"]);
  const { pid } = child as { pid: number };
  const alive = holder(pid, { began: await began(pid) });
  await writeFile(path, alive);
  await expect(RunLock.take(path)).rejects.toThrow(`of process ${pid} on`);
  const stale = [holder(pid, { began: "1" }), holder(process.pid, { began: "1" }), "{", ""];
  for (const text of stale) {
    await writeFile(path, text);
    await using lock = await RunLock.take(path);
    expect(lock).toBeDefined();
  }
  child.kill("SIGKILL");
  await new Promise((done) => child.on("close", done));
  // Of many that find it one takes it over, also where one was killed while it did so.
  for (const [round, left] of Array.from({ length: 40 }, () => [["run.lock"], ["run.lock", "run.lock.takeover"]])
    .flat()
    .entries()) {
    for (const name of left) await writeFile(join(folder, name), alive);
    const all = await Promise.allSettled(Array.from({ length: 12 }, () => RunLock.take(path)));
    const got = all.filter((one) => one.status === "fulfilled");
    expect(got.length, `round ${round}`).toBe(1);
    await got[0]!.value[Symbol.asyncDispose]();
  }
  expect(await readdir(folder)).toEqual([]);
});

test("another machine's process is not known to be gone", async () => {
  await writeFile(path, holder(1, { host: "elsewhere" }));
  await expect(RunLock.take(path)).rejects.toThrow(/process 1 on elsewhere; wait for it, choose another --out, or remove the file/);
});
