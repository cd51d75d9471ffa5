/** Untrusted media in a page: read in a worker that can be ended, however the package came into the page. */
import { execFileSync } from "node:child_process";
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { encodeVideo } from "../../src/video/encode.ts";
import { serveFolder, type StaticServer } from "../../web/server.ts";
import { launchChromium, troublesOf } from "../support/chromium.ts";
import { film } from "../support/film.ts";
import { bytesOf, pixelsOf, type Drawn } from "../video/pictures/drawn.ts";

const ROOT = join(import.meta.dirname, "../..");
const STRICT = `default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'; img-src data:`;

let app: string;
let server: StaticServer;
let browser: Browser;

const html = (script: string, policy = ""): string =>
  "<!doctype html><html " +
  `lang="en"><title>app</title>${policy ? `<meta http-equiv="Content-Security-Policy" content="${policy}">` : ""}<link rel="icon" ` +
  `href="data:,"><script type="module" src="${script}"></script></html>`;

beforeAll(async () => {
  execFileSync(process.execPath, ["build.mjs", "--if-stale"], { cwd: ROOT });
  app = await mkdtemp(join(tmpdir(), "cogwheel-media-"));
  await mkdir(join(app, "node_modules"));
  await symlink(ROOT, join(app, "node_modules/cogwheel-webgpu"));
  await writeFile(join(app, "package.json"), JSON.stringify({ name: "app", private: true, type: "module" }));
  await writeFile(join(app, "entry.mjs"), `import { decodeVideo } from "cogwheel-webgpu"; globalThis.decodeVideo = decodeVideo;`);
  const site = join(app, "site");
  // As the package's files are served, …
  await mkdir(join(site, "plain"), { recursive: true });
  await cp(join(ROOT, "dist/browser.js"), join(site, "plain/browser.js"));
  await cp(join(ROOT, "dist/chunks"), join(site, "plain/chunks"), { recursive: true, filter: (path) => !path.endsWith(".map") });
  await writeFile(join(site, "plain/entry.js"), `import { decodeVideo } from "./browser.js"; globalThis.decodeVideo = decodeVideo;`);
  await writeFile(join(site, "plain/index.html"), html("./entry.js", STRICT));
  await writeFile(join(site, "plain/strict.html"), html("./entry.js", STRICT.replace(" 'wasm-unsafe-eval'", "")));
  // … bundled by one that leaves the worker's file behind, …
  const { build } = await import("esbuild");
  await build({
    entryPoints: [join(app, "entry.mjs")],
    outdir: join(site, "esbuild"),
    bundle: true,
    format: "esm",
    splitting: true,
    platform: "browser",
    logLevel: "error",
    absWorkingDir: app,
  });
  await writeFile(join(site, "esbuild/index.html"), html("./entry.js"));
  await writeFile(join(site, "esbuild/strict.html"), html("./entry.js", STRICT));
  // … and by one that brings it along.
  await writeFile(join(app, "index.html"), html("./entry.mjs", STRICT));
  const vite = await import("vite");
  await vite.build({
    root: app,
    configFile: false,
    logLevel: "error",
    base: "./",
    build: { outDir: join(site, "vite"), emptyOutDir: true },
  });
  await writeFile(join(site, "film.webm"), await encodeVideo(film({ count: 200 }), { format: "webm", fps: 25 }));
  await writeFile(join(site, "film.gif"), await encodeVideo(film({ count: 5 }), { format: "gif", fps: 10 }));
  await writeFile(join(site, "film.png"), await encodeVideo(film({ count: 1 }), { format: "png", fps: 10 }));
  await writeFile(join(site, "endless.webm"), await readFile(join(import.meta.dirname, "../video/fixtures/endless.webm")));
  server = await serveFolder(site);
  browser = await launchChromium();
}, 300_000);
afterAll(async () => {
  await browser?.close();
  await server?.[Symbol.asyncDispose]();
  await rm(app, { recursive: true, force: true });
});

async function open(path: string): Promise<{ page: Page; wrong: string[] }> {
  const page = await browser.newPage();
  const wrong = troublesOf(page);
  await page.goto(server.url + path);
  await page.waitForFunction("globalThis.decodeVideo");
  return { page, wrong };
}

/** What a file comes to in the page: its size and frames, or the words of the error. `abort` after so many milliseconds. */
const decode = (page: Page, file: string, options: object = {}, abort?: number): Promise<{ text: string; ms: number }> =>
  page.evaluate(
    async ([url, options, abort]) => {
      const bytes = new Uint8Array(await (await fetch(url)).arrayBuffer());
      const controller = new AbortController();
      const from = performance.now();
      if (abort !== undefined) setTimeout(() => controller.abort(new Error("enough")), abort);
      const decodeVideo = (
        globalThis as unknown as {
          decodeVideo: (bytes: Uint8Array, options: object) => Promise<{ width: number; height: number; frames: unknown[] }>;
        }
      ).decodeVideo;
      const text = await decodeVideo(bytes, { ...options, signal: controller.signal }).then(
        ({ width, height, frames }) => `${width}×${height}, ${frames.length}`,
        (error: Error) => error.message,
      );
      return { text, ms: performance.now() - from };
    },
    [new URL(file, server.url).href, options, abort] as const,
  );

/** No worker stays; a browser takes seconds to end one that is in a loop. */
const none = (page: Page): Promise<unknown> => expect.poll(() => page.workers().length, { timeout: 10_000 }).toBe(0);

describe.each(["plain", "vite", "esbuild"])("in a page, %s", (kind) => {
  it("films and pictures are read in a worker", async () => {
    const { page, wrong } = await open(`${kind}/index.html`);
    expect((await decode(page, "film.webm")).text).toBe("64×64, 200");
    expect(page.workers()).toHaveLength(1);
    expect((await decode(page, "film.gif", { maxFrames: 3 })).text).toBe("64×64, 3");
    expect((await decode(page, "film.png")).text).toBe("64×64, 1");
    expect(page.workers(), "the same one").toHaveLength(1);
    if (kind === "plain") await none(page);
    // That the file was left behind is told by the network alone.
    expect(wrong.filter((text) => !(kind === "esbuild" && text.includes("404")))).toEqual([]);
    await page.close();
  }, 60_000);
});

describe("films", () => {
  // By the browser's own decoder: what of a film the demuxer and the decoder do not tell is the same code as in Node. HEVC only some
  // machines' browsers have.
  it("have the frames that ffmpeg shows, byte for byte", async () => {
    const films = (
      JSON.parse(await readFile(join(ROOT, "test/video/fixtures/films/films.json"), "utf8")) as {
        name: string;
        file: string;
        equal?: string;
      }[]
    ).filter(({ equal }) => equal);
    const kinds = /^(format|matrix|container-color|alpha|rate|interlaced)\/|^edit\/(h264-two|hevc)/;
    const { page, wrong } = await open("plain/index.html");
    for (const { name, file, equal } of films.filter((film) => kinds.test(film.name))) {
      const got = await page.evaluate(
        async (bytes) => {
          const decodeVideo = (globalThis as unknown as { decodeVideo: (bytes: Uint8Array) => Promise<{ frames: { data: Uint8Array }[] }> })
            .decodeVideo;
          try {
            const { frames } = await decodeVideo(new Uint8Array(bytes));
            const rgb = Uint8Array.from(frames.flatMap(({ data }) => [...data.filter((_, index) => index % 4 < 3)]));
            return [...new Uint8Array(await crypto.subtle.digest("SHA-256", rgb))]
              .map((byte) => byte.toString(16).padStart(2, "0"))
              .join("");
          } catch (error) {
            return (error as Error).message;
          }
        },
        [...(await readFile(join(ROOT, "test/video/fixtures/films", file)))],
      );
      if (name.includes("hevc") && got.startsWith("["))
        expect(got, name).toMatch(/^\[video\] the video must be in a codec that can be decoded here, got HEVC \(hev1\); convert it/);
      else expect(got, name).toBe(equal);
    }
    expect(wrong).toEqual([]);
    await page.close();
  }, 60_000);
});

describe("pictures", () => {
  it("have the bytes that they have in Node, JPEG and WebP too", async () => {
    const drawn = JSON.parse(await readFile(join(ROOT, "test/video/pictures/pictures.json"), "utf8")) as Drawn[];
    const { page, wrong } = await open("plain/index.html");
    for (const kind of ["png", "apng", "gif", "jpeg", "webp", "moving-webp"]) {
      const picture = drawn.find(({ name }) => name.startsWith(`${kind}-`))!;
      const got = await page.evaluate(
        async (bytes) => {
          const decodeVideo = (globalThis as unknown as { decodeVideo: (bytes: Uint8Array) => Promise<{ frames: { data: Uint8Array }[] }> })
            .decodeVideo;
          return (await decodeVideo(new Uint8Array(bytes))).frames.map(({ data }) => [...data.filter((_, index) => index % 4 < 3)]);
        },
        [...bytesOf(picture)],
      );
      expect(got, kind).toEqual(pixelsOf(picture).map((pixels) => [...pixels]));
    }
    expect(wrong).toEqual([]);
    await page.close();
  });

  it("of a kind that needs WebAssembly are refused with the reason where the page forbids it", async () => {
    const { page } = await open("plain/strict.html");
    const bytes = [
      ...bytesOf(
        (JSON.parse(await readFile(join(ROOT, "test/video/pictures/pictures.json"), "utf8")) as Drawn[]).find(({ name }) =>
          name.startsWith("jpeg-"),
        )!,
      ),
    ];
    const text = await page.evaluate(
      (bytes) =>
        (globalThis as unknown as { decodeVideo: (bytes: Uint8Array) => Promise<unknown> }).decodeVideo(new Uint8Array(bytes)).then(
          () => "read",
          (error: Error) => error.message,
        ),
      bytes,
    );
    expect(text).toMatch(/^\[video\] the decoder of jpeg must be a WebAssembly module that can be compiled, got .*'wasm-unsafe-eval'$/);
    expect((await decode(page, "film.png")).text).toBe("64×64, 1");
    await page.close();
  });
});

describe("a film whose demuxer never ends", () => {
  it("is refused in words when it gets no further, the page answers meanwhile, and the next file is read", async () => {
    const { page, wrong } = await open("plain/index.html");
    const running = decode(page, "endless.webm", { limits: { seconds: 2 } });
    expect(await page.evaluate("1 + 1")).toBe(2);
    const { text, ms } = await running;
    expect(text).toMatch(/^\[video\] the video must be read ahead at least every 2 s, got a file on which the reader made no progress/);
    expect(ms).toBeLessThan(20_000);
    expect((await decode(page, "film.png")).text).toBe("64×64, 1");
    expect(wrong).toEqual([]);
    await page.close();
  });

  it("ends at abort at once", async () => {
    const { page } = await open("plain/index.html");
    const { text, ms } = await decode(page, "endless.webm", {}, 500);
    expect(text).toBe("enough");
    expect(ms).toBeLessThan(5000);
    await none(page);
    await page.close();
  });
});

describe("a bundle without the worker's file, in a page that forbids workers from blobs", () => {
  it("says so, and takes the file's URL", async () => {
    const { page } = await open("esbuild/strict.html");
    expect((await decode(page, "film.png")).text).toMatch(
      /^\[video\] films and pictures are read in a worker, which must start, got a bundle without browser-media-worker\.js .* option reader/,
    );
    expect((await decode(page, "film.png", { reader: "../plain/chunks/browser-media-worker.js" })).text).toBe("64×64, 1");
    expect((await decode(page, "film.png", { reader: "../nothing.js" })).text).toMatch(/^\[video\] the option reader must name/);
    await page.close();
  });
});

describe("the worker's start", () => {
  it("has an end where a script never says that it is ready, by the limit and by abort", async () => {
    await writeFile(join(app, "site/silent.js"), "setInterval(() => {}, 1000);");
    const { page } = await open("plain/index.html");
    const reader = "../silent.js";
    expect((await decode(page, "film.png", { reader, limits: { seconds: 0.3 } })).text).toMatch(
      /^\[video\] the option reader must name .* got \.\.\/silent\.js/,
    );
    expect((await decode(page, "film.png", { reader }, 300)).text).toBe("enough");
    await none(page);
    await page.close();
  });

  it("is told in words where a part of the package is not served", async () => {
    const { page } = await open("plain/index.html");
    await page.route(/browser-start-\w+\.js/, (route) => route.abort());
    expect((await decode(page, "film.png")).text).toMatch(
      /^\[video\] films and pictures are read by parts of this package .*; serve all of its files/,
    );
    await page.close();
  });
});

describe("a view of bytes", () => {
  it("is what the worker gets, without what is around it, and stays the caller's", async () => {
    const { page } = await open("plain/index.html");
    const sent = await page.evaluate(async (url) => {
      const { decodeVideo } = globalThis as unknown as { decodeVideo: (bytes: Uint8Array) => Promise<{ frames: unknown[] }> };
      const file = new Uint8Array(await (await fetch(url)).arrayBuffer());
      const around = new Uint8Array(file.length + 2e6);
      around.set(file, 1e6);
      const sizes: number[] = [];
      const post = Worker.prototype.postMessage as (this: Worker, message: { bytes?: Uint8Array }, ...rest: unknown[]) => void;
      Worker.prototype.postMessage = function (this: Worker, message: { bytes?: Uint8Array }, ...rest: unknown[]) {
        if (message.bytes) sizes.push(message.bytes.buffer.byteLength - file.length);
        return post.call(this, message, ...rest);
      } as typeof Worker.prototype.postMessage;
      const { frames } = await decodeVideo(around.subarray(1e6, 1e6 + file.length));
      return { sizes, frames: frames.length, left: around.length - file.length };
    }, new URL("film.png", server.url).href);
    expect(sent).toEqual({ sizes: [0], frames: 1, left: 2e6 });
    await page.close();
  });
});
