/** Jobs in a folder: the contract, what is refused, and processes that are killed in the middle. */
import { spawn } from "node:child_process";
import { appendFile, mkdtemp, readdir, rm, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { build } from "esbuild";
import { afterAll, beforeAll, expect, test } from "vitest";
import { openEmbedded } from "../../src/jobs/embedded-node.ts";
import { backendContract } from "./contract.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "cogwheel-jobs-"));
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

backendContract(() => openEmbedded(join(folder, "contract")));

test("a folder of something else is refused, and left as it is", async () => {
  const at = join(folder, "other");
  await (await openEmbedded(at))[Symbol.asyncDispose]();
  await writeFile(join(at, "format"), "cogwheel-jobs/9\n");
  await expect(openEmbedded(at)).rejects.toThrow(/must be new or one of cogwheel-jobs\/1, got .* of "cogwheel-jobs\/9"/);
  const films = await mkdtemp(join(folder, "films-"));
  await writeFile(join(films, "a.mp4"), "");
  await expect(openEmbedded(films)).rejects.toThrow(/with a\.mp4; choose another --queue/);
  expect(await readdir(films)).toEqual(["a.mp4"]);
});

test("revisions that were followed long ago are removed, and what is deleted stays deleted", async () => {
  const at = join(folder, "old");
  await using backend = await openEmbedded(at);
  let revision = 0;
  for (let n = 0; n < 12; n++) revision = (await backend.values.put("k", Uint8Array.of(n), revision))!;
  expect((await readdir(join(at, "values/k"))).length, "young ones stay").toBe(12);
  expect((await backend.values.get("k"))?.value).toEqual(Uint8Array.of(11));
  await utimes(join(at, "values/k/12"), 1, 1);
  expect(await backend.values.delete("k", revision)).toBe(true);
  expect(await backend.values.put("k", Uint8Array.of(0), 4), "a revision of before").toBeUndefined();
  await using again = await openEmbedded(at);
  expect(await again.values.get("k")).toBeUndefined();
});

test("who watches hears of what changes in a new log, when the one before is full", async () => {
  const at = join(folder, "full");
  await using one = await openEmbedded(at);
  await using other = await openEmbedded(at);
  const controller = new AbortController();
  const heard: string[] = [];
  const watching = (async () => {
    for await (const { key } of other.values.watch("k", controller.signal)) heard.push(key);
  })();
  await one.values.put("k1", Uint8Array.of(1), 0);
  await expect.poll(() => heard, { timeout: 10_000 }).toEqual(["k1"]);
  await appendFile(join(at, "changes/log"), `${"x".repeat(999)}\n`.repeat(4000));
  await one.values.put("k2", Uint8Array.of(1), 0);
  await other.values.put("k3", Uint8Array.of(1), 0);
  await one.values.put("k4", Uint8Array.of(1), 0);
  await expect.poll(() => heard, { timeout: 10_000 }).toEqual(["k1", "k2", "k3", "k4"]);
  expect((await readdir(join(at, "changes"))).sort()).toEqual(["log", "log.old"]);
  controller.abort();
  await watching;
});

const CHILD = `
import { openEmbedded } from "./embedded.mjs";
await using backend = await openEmbedded(process.argv[2]);
const [text, bytes] = [(b) => new TextDecoder().decode(b), (s) => new TextEncoder().encode(s)];
for (let done = 0; done < 50; ) {
  const found = await backend.values.get("count");
  const list = found ? JSON.parse(text(found.value)) : [];
  const mine = process.argv[3] + "-" + process.pid + "-" + done;
  const revision = await backend.values.put("count", bytes(JSON.stringify([...list, mine])), found?.revision ?? 0);
  if (revision === undefined) continue;
  done++;
  process.stdout.write(mine + "\\n");
  await backend.blobs.put("blob", new Uint8Array(200_000).fill(revision % 256));
}
`;

test("four processes write 200 values and more, and are killed all the time: none is lost, none is there twice", async () => {
  const at = join(folder, "kills");
  await build({
    entryPoints: ["src/jobs/embedded-node.ts"],
    outfile: join(folder, "embedded.mjs"),
    bundle: true,
    platform: "node",
    format: "esm",
    target: "node20",
  });
  await build({ stdin: { contents: CHILD }, outfile: join(folder, "child.mjs"), format: "esm", target: "node20", logLevel: "error" });
  let told = "";
  const run = (who: number, after?: number): Promise<void> =>
    new Promise((done) => {
      const child = spawn(process.execPath, [join(folder, "child.mjs"), at, String(who)], { stdio: ["ignore", "pipe", "inherit"] });
      child.stdout.on("data", (part: Buffer) => {
        told += part.toString();
      });
      const timer = after === undefined ? undefined : setTimeout(() => child.kill("SIGKILL"), after);
      child.on("close", () => {
        clearTimeout(timer);
        done();
      });
    });
  await Promise.all(
    [0, 1, 2, 3].map(async (who) => {
      for (let round = 0; round < 4; round++) await run(who, 150 + 90 * ((who + 3 * round) % 5));
      await run(who);
    }),
  );
  await using backend = await openEmbedded(at);
  const list = JSON.parse(new TextDecoder().decode((await backend.values.get("count"))!.value)) as string[];
  const acknowledged = told.split("\n").filter(Boolean);
  expect(acknowledged.length).toBeGreaterThanOrEqual(200);
  expect(new Set(list).size, "no write is there twice").toBe(list.length);
  expect(
    acknowledged.filter((one) => !list.includes(one)),
    "writes that were told and are not there",
  ).toEqual([]);
  const blob = (await backend.blobs.get("blob"))!;
  expect([blob.length, new Set(blob).size], "a blob is whole").toEqual([200_000, 1]);
  expect(await readdir(join(at, "parts")), "what the killed ones left").toEqual([]);
}, 60_000);
