/** Checkpoints kept in a real browser's private file system: what is opened is what was stored under that name, whole, or nothing. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import type { Browser, BrowserContext, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from "vitest";
import type * as Cogwheel from "../../src/index.ts";
import { launchChromium } from "../support/chromium.ts";
import { NEEDED, text, VAE, WEIGHTS, weights } from "../support/hub-checkpoint.ts";

declare const cogwheel: typeof Cogwheel;

const ROOT = join(import.meta.dirname, "../..");
let browser: Browser;
let context: BrowserContext;
let page: Page;
let server: Server;
let url: string;

/** What lies at /m/, and what is told of it. */
let files: Record<string, Uint8Array>;
let validators: "etag" | "modified" | "none";
let modified: Date;
/** Paths whose content was asked for, and what happens before it is sent. */
let fetched: string[];
let before: (path: string) => Promise<void> | void;
const MODEL = "m/";

const etag = (bytes: Uint8Array): string => `"${createHash("sha1").update(bytes).digest("hex")}"`;

beforeAll(async () => {
  execFileSync(process.execPath, ["build.mjs", "--if-stale"], { cwd: ROOT });
  server = createServer(
    (request, response) =>
      void (async () => {
        const path = decodeURIComponent(new URL(request.url!, "http://x").pathname.slice(1));
        if (path === "") return response.writeHead(200, { "content-type": "text/html" }).end("<title>x</title><link rel=icon href=data:,>");
        if (!path.startsWith(MODEL))
          return response.writeHead(200, { "content-type": "text/javascript" }).end(await readFile(join(ROOT, "dist", path)));
        const name = path.slice(MODEL.length);
        const bytes = files[name];
        if (!bytes) return response.writeHead(404).end();
        const [, first = 0, last = 0] = (/^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "") ?? []).map(Number);
        if (last > 0 || bytes.length === 1) {
          fetched.push(name);
          await before(name);
        }
        const told = {
          etag: { etag: etag(bytes) },
          modified: { "last-modified": modified.toUTCString() },
          none: {},
        }[validators];
        response
          .writeHead(206, { ...told, "content-range": `bytes ${first}-${Math.min(last, bytes.length - 1)}/${bytes.length}` })
          .end(bytes.subarray(first, last + 1));
      })().catch(() => response.destroy()),
  );
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  browser = await launchChromium();
}, 300_000);
afterAll(async () => {
  await browser?.close();
  server?.closeAllConnections();
  server?.close();
});
beforeEach(async () => {
  [files, validators, modified, fetched, before] = [{ ...NEEDED }, "etag", new Date(2024, 0), [], () => undefined];
  context = await browser.newContext();
  page = await open();
});
afterEach(() => context.close());

/** A tab with the library in it. */
async function open(): Promise<Page> {
  const tab = await context.newPage();
  await tab.goto(url);
  await tab.evaluate("(async () => { globalThis.cogwheel = await import('/browser.js'); })()");
  return tab;
}
/** Stores the model, and says how it ended. */
const store = (name = "model", { at = page, stop = "" } = {}): Promise<string> =>
  at.evaluate(
    async ({ url, name, stop }) => {
      const controller = new AbortController();
      const from = cogwheel.httpSource(`${url}m/`);
      return await cogwheel
        .storeCheckpoint(from, name, {
          signal: controller.signal,
          onProgress: (_done, _total, file) => void (file === stop && controller.abort(new Error("stopped"))),
        })
        .then(
          () => "stored",
          (error: Error) => error.message,
        );
    },
    { url, name, stop },
  );
/** A stored file: as text where it is JSON, else its hash; "none", or what is wrong. */
const read = (name = "model", path = "vae/config.json"): Promise<string> =>
  page.evaluate(
    async ({ name, path }) => {
      try {
        const source = await cogwheel.storedCheckpoint(name);
        if (!source) return "none";
        const bytes = await source.read(path, 0, await source.size(path));
        if (path.endsWith(".json")) return new TextDecoder().decode(bytes);
        return Array.from(new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)), (byte) => byte.toString(16).padStart(2, "0")).join(
          "",
        );
      } catch (error) {
        return (error as Error).message;
      }
    },
    { name, path },
  );
const list = (): Promise<Cogwheel.StoredCheckpoint[]> => page.evaluate(() => cogwheel.storedCheckpoints());
/** All files below the storage's folder, without the records. */
const contents = (): Promise<string[]> =>
  page.evaluate(async () => {
    const found: string[] = [];
    const walk = async (folder: FileSystemDirectoryHandle, at: string): Promise<void> => {
      for await (const [name, handle] of folder.entries()) {
        if (handle.kind === "directory") await walk(handle as FileSystemDirectoryHandle, `${at}${name}/`);
        else if (!name.endsWith(".json")) found.push(at + name);
      }
    };
    await walk(await navigator.storage.getDirectory(), "");
    return found;
  });
const total = (of: Record<string, Uint8Array>): number => Object.values(of).reduce((sum, { length }) => sum + length, 0);
const hash = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

it("opens what was stored, and fetches nothing of it again", async () => {
  expect(await read()).toBe("none");
  expect(await store()).toBe("stored");
  for (const [path, bytes] of Object.entries(NEEDED))
    expect(await read("model", path), path).toBe(path.endsWith(".json") ? new TextDecoder().decode(bytes) : hash(bytes));
  expect(await list()).toEqual([{ name: "model", bytes: total(NEEDED), whole: true }]);
  fetched = [];
  expect(await store()).toBe("stored");
  expect(fetched.filter((path) => !/index|config/.test(path))).toEqual([]);
  expect((await contents()).length).toBe(Object.keys(NEEDED).length);
});

it("asks for as much at once as the source says, and for the next while a piece is written", async () => {
  const log = await page.evaluate(
    async ({ url, path, length }) => {
      const from = cogwheel.httpSource(`${url}m/`);
      const log: string[] = [];
      const told: typeof from = {
        ...from,
        pieceBytes: Math.ceil(length / 3),
        read: (file, start, end) => (file === path && log.push(`read ${start}`), from.read(file, start, end)),
      };
      await cogwheel.storeCheckpoint(told, "model", { onProgress: (_done, _total, file) => void (file === path && log.push("written")) });
      return log;
    },
    { url, path: WEIGHTS, length: files[WEIGHTS]!.length },
  );
  const third = Math.ceil(files[WEIGHTS]!.length / 3);
  expect(log.slice(0, 6)).toEqual(["read 0", `read ${third}`, "written", `read ${2 * third}`, "written", "written"]);
  expect(await read("model", WEIGHTS)).toBe(hash(files[WEIGHTS]!));
});

it("keeps names apart that begin alike, differ in case, or only in what UTF-8 drops", async () => {
  const long = "https://example.org/" + "x".repeat(300);
  const names = [`${long}/a`, `${long}/b`, "Model", "model", "..", "0".repeat(64)];
  for (const [i, name] of names.entries()) {
    files["vae/config.json"] = text({ latent_channels: 100 + i });
    expect(await store(name)).toBe("stored");
  }
  for (const [i, name] of names.entries()) expect(await read(name), name).toBe(`{"latent_channels":${100 + i}}`);
  expect((await list()).map(({ name }) => name).sort()).toEqual([...names].sort());
  await page.evaluate((name) => cogwheel.removeStoredCheckpoint(name), names[0]!);
  expect([await read(names[0]), await read(names[1])]).toEqual(["none", '{"latent_channels":101}']);
  const lone = (unit: string): Promise<string> =>
    page.evaluate(
      async ({ url, unit }) => {
        const from = cogwheel.httpSource(`${url}m/`);
        return await cogwheel.storeCheckpoint(from, JSON.parse(unit) as string).then(
          () => "stored",
          (error: Error) => error.message,
        );
      },
      { url, unit },
    );
  expect(await lone('"\\ud800"')).toBe("stored");
  expect(await lone('"\\ud801"')).toBe(
    '[checkpoint] a stored checkpoint must have a name of its own, got "\\ud801", which is kept as "\\ud800"; choose another name',
  );
}, 60_000);

it.each(["etag", "modified", "just modified", "none"] as const)(
  "fetches other weights of the same size under one name, where the server tells by: %s",
  async (told) => {
    validators = told === "just modified" ? "modified" : told;
    // A file that was modified just now may be modified again within the second that its date is told in.
    modified = told === "just modified" ? new Date() : new Date(2024, 0);
    expect(await store()).toBe("stored");
    files[VAE] = weights(["v"], 96, 77);
    if (told === "modified") modified = new Date(2024, 1);
    fetched = [];
    expect(await store()).toBe("stored");
    expect(fetched).toContain(VAE);
    if (told === "etag") expect(fetched).not.toContain(WEIGHTS);
    expect(await read("model", VAE)).toBe(hash(files[VAE]));
    expect((await contents()).length).toBe(Object.keys(NEEDED).length);
    fetched = [];
    expect(await store()).toBe("stored");
    expect(fetched.includes(WEIGHTS)).toBe(told === "just modified" || told === "none");
  },
);

it("goes by SHA256SUMS before anything else", async () => {
  const sums = (): Uint8Array =>
    text(
      Object.entries(files)
        .filter(([path]) => path !== "SHA256SUMS")
        .map(([path, bytes]) => `${hash(bytes)}  ${path}`)
        .join("\n"),
    );
  validators = "none";
  files["SHA256SUMS"] = sums();
  expect(await store()).toBe("stored");
  fetched = [];
  expect(await store()).toBe("stored");
  expect(fetched.filter((path) => path.endsWith(".safetensors"))).toEqual([]);
  files[VAE] = weights(["v"], 96, 78);
  expect(await store(), "the old sum still stands, so the content need not be looked at").toBe("stored");
  files["SHA256SUMS"] = sums();
  expect(await store()).toBe("stored");
  expect(await read("model", VAE)).toBe(hash(files[VAE]));
  files["SHA256SUMS"] = text(new TextDecoder().decode(sums()).replace(/^[0-9a-f]{8}/gm, "00000000"));
  expect(await store()).toMatch(
    /^\[checkpoint\] .*: the SHA-256 must be 00000000[0-9a-f]{56} as SHA256SUMS says, got [0-9a-f]{64}; the file was damaged on its way, store it again/,
  );
  expect(await read("model", VAE), "what was whole still is").toBe(hash(files[VAE]!));
});

it("opens no half: a store that is stopped is gone on with, and the one before it stays", async () => {
  expect(await store("model", { stop: "vae/config.json" })).toBe("stopped");
  expect(await read()).toBe("none");
  const [left] = await list();
  expect(left).toMatchObject({ name: "model", whole: false });
  expect(left!.bytes).toBeGreaterThan(total(NEEDED) / 2);
  fetched = [];
  expect(await store()).toBe("stored");
  expect(fetched).not.toContain(WEIGHTS);
  expect(await read("model", VAE)).toBe(hash(NEEDED[VAE]!));

  files["vae/config.json"] = text({ latent_channels: 5 });
  files["transformer/config.json"] = text({ num_layers: 9 });
  expect(await store("model", { stop: "vae/config.json" })).toBe("stopped");
  expect([await read("model", "transformer/config.json"), await read()]).toEqual(['{"num_layers":2}', '{"latent_channels":4}']);
  expect(await store()).toBe("stored");
  expect([await read("model", "transformer/config.json"), await read()]).toEqual(['{"num_layers":9}', '{"latent_channels":5}']);
});

it("survives a tab that is closed while it stores", async () => {
  const other = await open();
  let at: () => void;
  const reached = new Promise<void>((done) => (at = done));
  before = async (path) => {
    if (path === VAE) {
      at();
      await new Promise((done) => setTimeout(done, 3000));
    }
  };
  const storing = store("model", { at: other }).catch(() => "closed");
  await reached;
  await other.close();
  expect(await storing).toBe("closed");
  before = () => undefined;
  expect(await read()).toBe("none");
  fetched = [];
  expect(await store()).toBe("stored");
  expect(fetched).not.toContain(WEIGHTS);
  expect((await contents()).length, "nothing unfinished is left").toBe(Object.keys(NEEDED).length);
}, 60_000);

it("is stored once by two tabs at the same time, and not removed meanwhile", async () => {
  const other = await open();
  let at: () => void;
  const reached = new Promise<void>((done) => (at = done));
  before = async (path) => {
    if (path === VAE) {
      at();
      await new Promise((done) => setTimeout(done, 300));
    }
  };
  const both = Promise.all([store(), store("model", { at: other })]);
  await reached;
  expect(
    await page.evaluate(() =>
      cogwheel.removeStoredCheckpoint("model").then(
        () => "removed",
        (error: Error) => error.message,
      ),
    ),
  ).toBe('[checkpoint] "model" must not be stored while it is removed, got another tab that stores it; wait for it, or close it');
  expect(await both).toEqual(["stored", "stored"]);
  expect(fetched.filter((path) => path === VAE).length).toBe(1);
  expect((await contents()).length).toBe(Object.keys(NEEDED).length);
});

it.each([
  [
    "is cut short",
    (handle: string) => `(async () => { const w = await ${handle}.createWritable(); await w.write('x'); await w.close(); })()`,
    /^\[checkpoint\] .* of the stored "model" must have \d+ bytes, got 1; store the checkpoint again$/,
  ],
  [
    "is gone",
    (handle: string) => `${handle}.remove()`,
    /^\[checkpoint\] .* of the stored "model" must have \d+ bytes, got no file; store the checkpoint again$/,
  ],
])("says so when a file of it %s, and mends it when it is stored again", async (_, spoil, message) => {
  expect(await store()).toBe("stored");
  const [victim] = await contents();
  await page.evaluate(
    `(async () => { let at = await navigator.storage.getDirectory(); const parts = ${JSON.stringify(victim)}.split('/'); ` +
      "const file = parts.pop(); for (const part of parts) at = await at.getDirectoryHandle(part); " +
      `const handle = await at.getFileHandle(file); await ${spoil("handle")}; })()`,
  );
  expect(await read()).toMatch(message);
  expect(await store()).toBe("stored");
  expect(await read()).toBe('{"latent_channels":4}');
});

it("takes no folder for a checkpoint that has no whole record, and removes those of an earlier layout", async () => {
  expect(await store()).toBe("stored");
  await page.evaluate(async () => {
    const root = await (await navigator.storage.getDirectory()).getDirectoryHandle("cogwheel");
    const write = async (folder: FileSystemDirectoryHandle, name: string, text: string): Promise<void> => {
      const stream = await (await folder.getFileHandle(name, { create: true })).createWritable();
      await stream.write(text);
      await stream.close();
    };
    const old = await root.getDirectoryHandle("https=3A=2F=2Fexample=2Eorg", { create: true });
    await write(old, "model_index.json", "{}");
    await write(
      old,
      "stored.json",
      JSON.stringify({ name: "https://example.org", files: { "model_index.json": { size: 2, sha256: "0" } } }),
    );
    for await (const handle of root.values())
      if (/^[0-9a-f]{64}$/.test(handle.name))
        await write(handle as FileSystemDirectoryHandle, "stored.json", '{"layout":2,"name":"model","files":{"a":{"si');
  });
  expect(await read("https://example.org")).toBe("none");
  expect(await read()).toBe("none");
  expect(await list()).toEqual([]);
  expect(await store()).toBe("stored");
  expect(await read()).toBe('{"latent_channels":4}');
  expect((await contents()).length).toBe(Object.keys(NEEDED).length);
});

it("says how much room there must be, takes none when it does not fit, and keeps what was there", async () => {
  const quota = async (bytes: number): Promise<void> => {
    const session = await context.newCDPSession(page);
    await session.send("Storage.overrideQuotaForOrigin", { origin: url.slice(0, -1), ...(bytes ? { quotaSize: bytes } : {}) });
  };
  await quota(600_000);
  const refused =
    /^\[checkpoint\] a stored checkpoint must fit the browser's storage, got 0\.\d MB to store and room for 0\.\d MB; remove stored checkpoints, free some of the disk, or open it where it lies$/;
  expect(await store()).toMatch(refused);
  expect(await contents()).toEqual([]);
  // The browser says more than it gives: it is found out in the middle.
  await page.evaluate(() => void (StorageManager.prototype.estimate = async () => ({ quota: 1e12, usage: 0 })));
  expect(await store()).toMatch(
    /^\[checkpoint\] a stored checkpoint must fit the browser's storage, got 0\.\d MB to store and room for .*; remove stored checkpoints/,
  );
  expect(await read()).toBe("none");
  expect(await contents()).toEqual([]);
  expect(await list()).toEqual([]);
  await quota(0);
  page = await open();
  expect(await store()).toBe("stored");
  // Another version that does not fit beside it: the old one is kept where the new one would not fit alone either.
  files = Object.fromEntries(Object.entries(NEEDED).map(([path, bytes]) => [path, path === VAE ? weights(["v"], 3000, 5) : bytes]));
  await quota(1_400_000);
  expect(await store()).toMatch(
    /^\[checkpoint\] a stored checkpoint must fit the browser's storage, got 3\.1 MB to store and room for 0\.\d MB;/,
  );
  expect(await read("model", VAE)).toBe(hash(NEEDED[VAE]!));
}, 60_000);

it("in a worker files are read straight into the memory that is given, and can be removed when nobody reads", async () => {
  expect(await store()).toBe("stored");
  const told = await page.evaluate(
    ({ url, path }) =>
      new Promise<{ bytes: number[]; opened: number; closed: number; removed: string }>((resolve, reject) => {
        const script = `
          const cogwheel = await import("${url}browser.js");
          const prototype = FileSystemFileHandle.prototype;
          const create = prototype.createSyncAccessHandle;
          let [opened, closed] = [0, 0];
          prototype.createSyncAccessHandle = async function (options) {
            const handle = await create.call(this, options);
            opened++;
            const close = handle.close.bind(handle);
            handle.close = () => (closed++, close());
            return handle;
          };
          const source = await cogwheel.storedCheckpoint("model");
          const memory = new Uint8Array(40).fill(255);
          const reads = [[3, 13, memory.subarray(0, 10)], [0, 10, memory.subarray(20, 30)]];
          const got = await Promise.all(reads.map(([from, to, into]) => source.read("${path}", from, to, into)));
          if (got.some((bytes) => bytes.buffer !== memory.buffer)) throw new Error("it was read elsewhere");
          await new Promise((done) => setTimeout(done, 1500));
          const removed = await cogwheel.removeStoredCheckpoint("model").then(() => "removed", (error) => error.message);
          postMessage({ bytes: [...memory], opened, closed, removed });
        `;
        const worker = new Worker(URL.createObjectURL(new Blob([script], { type: "text/javascript" })), { type: "module" });
        worker.onmessage = ({ data }) => resolve(data as never);
        worker.onerror = ({ message }) => reject(new Error(message));
      }),
    { url, path: VAE },
  );
  const bytes = files[VAE]!;
  const rest = new Array<number>(10).fill(255);
  expect(told).toEqual({
    bytes: [...bytes.subarray(3, 13), ...rest, ...bytes.subarray(0, 10), ...rest],
    opened: 1,
    closed: 1,
    removed: "removed",
  });
});
