/** The cache that all clients share: what is found, what is broken, and two processes at once. */
import { lstat, mkdir, readFile, rm, stat, truncate, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { HubCache } from "../../src/hub/cache.ts";
import type { HubProgress } from "../../src/hub/id.ts";
import { withLock } from "../../src/hub/lock.ts";
import {
  ALL,
  LATER,
  blob,
  bundle,
  exists,
  expectWhole,
  home,
  model,
  open,
  openIn,
  output,
  server,
  snapshot,
  useHub,
} from "../support/hub-cache.ts";
import { COMMIT, ID, NEEDED, SHARDS, WEIGHTS, text } from "../support/hub-checkpoint.ts";

useHub();

describe("a file in the cache", () => {
  test.each([
    [
      "with another byte",
      async (path: string) => {
        const bytes = await readFile(path);
        bytes[1000]! ^= 1;
        await writeFile(path, bytes);
      },
      1,
    ],
    ["cut short", (path: string) => truncate(path, 100 * 1024), 1 - (100 * 1024) / NEEDED[WEIGHTS]!.length],
    ["that is longer", (path: string) => writeFile(path, new Uint8Array(NEEDED[WEIGHTS]!.length + 1)), 1],
    ["that is gone", (path: string) => rm(path), 1],
  ] as const)("%s is noticed and mended", async (_, spoil, share) => {
    await open();
    await spoil(blob(WEIGHTS));
    server.forget();
    await open();
    await expectWhole();
    expect(server.sentOf()).toBe(Math.round(share * NEEDED[WEIGHTS]!.length));
  });

  test("that is small and spoilt is mended too, also where nobody would be asked", async () => {
    await open(`${ID}@${COMMIT}`);
    await writeFile(blob("model_index.json"), "{}".padEnd(NEEDED["model_index.json"]!.length));
    await open(`${ID}@${COMMIT}`);
    await expectWhole();
  });

  test("whose time did not change is compared when asked", async () => {
    await open();
    const then = new Date(1_700_000_000_000);
    await utimes(blob(WEIGHTS), then, then);
    await open();
    const bytes = await readFile(blob(WEIGHTS));
    bytes[5000]! ^= 4;
    await writeFile(blob(WEIGHTS), bytes);
    await utimes(blob(WEIGHTS), then, then);
    server.forget();
    await open();
    expect(server.content).toEqual([]);
    await open(ID, { recheck: true });
    await expectWhole();
    expect(server.sentOf()).toBe(bytes.length);
  });

  test("without its link in the snapshot is linked again", async () => {
    await open();
    await rm(snapshot(WEIGHTS));
    server.forget();
    await open();
    expect((await lstat(snapshot(WEIGHTS))).isSymbolicLink()).toBe(true);
    expect(server.content).toEqual([]);
  });

  test("that stands in the snapshot itself, as on systems without links, is enough", async () => {
    await open();
    await rm(snapshot(WEIGHTS));
    await rm(blob(WEIGHTS));
    await writeFile(snapshot(WEIGHTS), NEEDED[WEIGHTS]!);
    server.forget();
    await open();
    expect(server.content).toEqual([]);
  });
});

describe("a cache that is not as it should be", () => {
  test.each(["null", "5", "[]", "{", '{"blobs":{}}'])("what was compared is told as %s: all is compared again", async (told) => {
    await open();
    await writeFile(model(".cogwheel-checked.json"), told);
    await open();
    await expectWhole();
  });

  test("a file in the place of a folder, and a path that is too long, are told", async () => {
    await mkdir(model("snapshots"), { recursive: true });
    await writeFile(model("snapshots", COMMIT), "");
    await expect(open()).rejects.toThrow(
      /^\[hub\] some-org\/Some-Model_2b: the cache in .* must be writable, got (EEXIST|ENOTDIR) for \w+; check its permissions, or set HF_HUB_CACHE to another folder$/,
    );
    const long = `text_encoder/${"x".repeat(300)}.safetensors`;
    server.repos[ID]!.revisions["main"] = {
      commit: LATER,
      files: {
        ...NEEDED,
        "text_encoder/model.safetensors.index.json": text({ weight_map: { a: long.slice("text_encoder/".length) } }),
        [long]: NEEDED[SHARDS[0]]!,
      },
    };
    await expect(open()).rejects.toThrow(
      /^\[hub\] some-org\/Some-Model_2b: the cache in .* must be writable, got ENAMETOOLONG for \w+; check its permissions/,
    );
  });

  test("a link to another file's content is none, where only its name tells it", async () => {
    const file = { path: "x", size: 5, blob: "2".repeat(64), digest: null };
    const held = new HubCache(model());
    await mkdir(model("blobs"), { recursive: true });
    await writeFile(model("blobs", "3".repeat(64)), "other");
    await held.place(COMMIT, { ...file, blob: "3".repeat(64) });
    expect(await held.holds(COMMIT, file)).toBe(false);
    await writeFile(model("blobs", file.blob), "right");
    await held.place(COMMIT, file);
    expect(await held.holds(COMMIT, file)).toBe(true);
  });
});

describe("two at once", () => {
  test("in one process: one downloads, the other waits", async () => {
    const phases = new Set<string>();
    server.pace = () => new Promise((done) => setTimeout(done, 3));
    const onProgress = ({ phase }: HubProgress): void => void phases.add(phase);
    await Promise.all([1, 2, 3].map(() => open(ID, { onProgress })));
    await expectWhole();
    expect(server.sentOf()).toBe(ALL);
    // Who waited believes who downloaded, and compares nothing again.
    expect(phases).toEqual(new Set(["download", "wait"]));
  });

  test("in two processes: every byte is sent once", async () => {
    const script = await bundle();
    server.pace = () => new Promise((done) => setTimeout(done, 3));
    const run = (): Promise<string> => output(script, ID);
    expect(await Promise.all([run(), run()])).toEqual([String(Object.keys(NEEDED).length), String(Object.keys(NEEDED).length)]);
    await expectWhole();
    expect(server.sentOf()).toBe(ALL);
  });

  test("a process that is killed is succeeded by the next, which goes on", async () => {
    const script = await bundle();
    server.pace = () => new Promise((done) => setTimeout(done, 10));
    const child = openIn(script, ID);
    const closed = new Promise((done) => child.once("close", done));
    const part = `${blob(WEIGHTS)}.cogwheel-part`;
    await expect.poll(async () => (await stat(part).catch(() => null))?.size ?? 0, { timeout: 20_000 }).toBeGreaterThan(100 * 1024);
    child.kill("SIGKILL");
    await closed;
    const kept = (await stat(part)).size;
    server.pace = undefined;
    server.forget();
    await open();
    await expectWhole();
    expect(server.sentOf("transformer%2F")).toBe(NEEDED[WEIGHTS]!.length - kept);
  });

  test("a lock that nobody touches any more is taken over, one at a time", async () => {
    const lock = join(home, "x.lock");
    await writeFile(lock, JSON.stringify({ pid: 1, host: "another-host", key: "old" }));
    const long = new Date(Date.now() - 120_000);
    await utimes(lock, long, long);
    let inside = 0,
      most = 0;
    await Promise.all(
      Array.from({ length: 6 }, () =>
        withLock(lock, async () => {
          most = Math.max(most, ++inside);
          await new Promise((done) => setTimeout(done, 10));
          inside--;
        }),
      ),
    );
    expect(most).toBe(1);
    expect(await exists(lock)).toBe(false);
  });

  test("waiting for a lock ends with the signal", async () => {
    const lock = join(home, "x.lock");
    const stop = new AbortController();
    await withLock(lock, async () => {
      await expect(
        withLock(lock, async () => undefined, { signal: stop.signal, onWait: () => stop.abort(new Error("no more")) }),
      ).rejects.toThrow("no more");
    });
  });
});
