import { execFileSync } from "node:child_process";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { decodeVideo } from "../../src/video/decode.ts";
import { launchChromium, troublesOf } from "../support/chromium.ts";
import { expectClose } from "../support/compare.ts";
import { exampleSite, inPage, readmeExample, runInNode, runInPage, type ExampleResult } from "../support/example.ts";
import { serveFolder, type StaticServer } from "../../web/server.ts";
import { withoutDispose } from "../support/without-dispose.ts";

/** What makes the example cheap: a CPU adapter's seconds go into compiling and decoding. */
const SETTINGS = { seed: 1, steps: 2, frames: 9 };

let browser: Browser;
let server: StaticServer;
let example: string;

/** A page of the example's site, and what went wrong in it: errors, warnings, failed requests. */
async function openPage(prepare?: (page: Page) => Promise<unknown>): Promise<{ page: Page; wrong: string[] }> {
  const page = await browser.newPage();
  const wrong = troublesOf(page);
  page.on("requestfailed", (request) => {
    // Chromium calls an answer aborted whose stream was read to its end as it came; the server has sent it whole and its connection is used
    // again. One that is not whole fails where it is read.
    const whole = request.resourceType() === "fetch" && request.failure()?.errorText === "net::ERR_ABORTED";
    if (!whole) wrong.push(`failed: ${request.url()} ${request.failure()?.errorText}`);
  });
  await prepare?.(page);
  await page.goto(`${server.url}index.html`);
  return { page, wrong };
}

beforeAll(async () => {
  execFileSync(process.execPath, ["build.mjs", "--if-stale"], { cwd: `${import.meta.dirname}/../..` });
  example = await readmeExample();
  server = await serveFolder(`${import.meta.dirname}/../..`, exampleSite(example, SETTINGS));
  browser = await launchChromium();
}, 300_000);

afterAll(async () => {
  await browser?.close();
  await server?.[Symbol.asyncDispose]();
});

describe("the README's example, unchanged", () => {
  let node: ExampleResult;
  let page: Page;
  let wrong: string[];
  let chromium: ExampleResult;

  it("runs in Node", async () => {
    node = await runInNode(example, SETTINGS);
    expect(node.adapter).toMatch(/swiftshader/i);
    expect(node.videos).toHaveLength(1);
  }, 600_000);

  it("runs in a browser, reads the weights by ranges, and nothing goes wrong", async () => {
    ({ page, wrong } = await openPage());
    chromium = await runInPage(page);
    expect(wrong).toEqual([]);
    expect(chromium.adapter).toMatch(/swiftshader/i);
    const weights = server.log.filter((line) => /safetensors$/.test(line));
    expect(weights.length).toBeGreaterThan(3);
    expect(weights.filter((line) => !line.startsWith("206 "))).toEqual([]);
  }, 600_000);

  it("gives the same video in both", () => {
    const [got, want] = [chromium.videos[0]!, node.videos[0]!];
    expect(got.seed).toBe(want.seed);
    expectClose(got.latents, want.latents, 1e-5);
    expect(got.frames.map(({ width, height, data }) => [width, height, data.length])).toEqual(
      Array.from({ length: SETTINGS.frames }, () => [64, 64, 64 * 64 * 4]),
    );
    let largest = 0;
    for (const [frame, { data }] of got.frames.entries())
      for (const [i, value] of data.entries()) largest = Math.max(largest, Math.abs(value - want.frames[frame]!.data[i]!));
    expect(largest, "largest difference of a byte of the frames").toBeLessThanOrEqual(1);
    expect(new Set(got.frames.flatMap(({ data }) => [...data])).size, "different bytes in the frames").toBeGreaterThan(16);
  });

  it.each(["mp4", "webm", "gif"] as const)("is encoded to the bytes of a %s by the browser", async (format) => {
    const base64 = await inPage<string>(
      page,
      `
      const { encodeVideo } = await import("cogwheel-webgpu");
      const { videos: [video] } = await import("./observer.mjs");
      const bytes = await encodeVideo(video.frames, { format: "${format}", fps: 8 });
      return btoa(String.fromCharCode(...bytes));`,
    );
    const bytes = Buffer.from(base64, "base64");
    const back = await decodeVideo(bytes);
    expect([back.frames.length, back.width, back.height, Math.round(back.fps!)]).toEqual([SETTINGS.frames, 64, 64, 8]);
    for (const [i, frame] of back.frames.entries())
      expect(psnr(frame.data, chromium.videos[0]!.frames[i]!.data), `PSNR of frame ${i}`).toBeGreaterThan(28);
    expect(wrong).toEqual([]);
  });
});

describe("frames in a page", () => {
  // A WebGPU canvas takes this headless Chromium's GPU process down, an empty one too. What showTexture copies to a canvas is tested in
  // Node (test/pipelines/generation.test.ts).
  it("are textures, pictures, and image data", async () => {
    const { page, wrong } = await openPage();
    const got = await inPage<{ want: number[]; bitmap: number[]; texture: number[] }>(
      page,
      `
      const { CogVideoX } = await import("cogwheel-webgpu");
      const model = await CogVideoX.open("models/moving-shapes");
      const options = { prompt: "a red circle moving left on a black background", seed: 1, steps: 1, frames: 1 };
      const video = await model.generate(options);
      const { textures: [[texture]] } = await model.generate({ ...options, textures: true });
      const { device } = model.gpu;
      const buffer = device.createBuffer({ size: 64 * 64 * 4, usage: GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ });
      const encoder = device.createCommandEncoder();
      encoder.copyTextureToBuffer({ texture }, { buffer, bytesPerRow: 256 }, [64, 64]);
      device.queue.submit([encoder.finish()]);
      await buffer.mapAsync(GPUMapMode.READ);
      const [bitmap] = await video.bitmaps();
      const look = new OffscreenCanvas(64, 64).getContext("2d");
      look.drawImage(bitmap, 0, 0);
      const result = {
        want: [...video.imageData()[0].data],
        bitmap: [...look.getImageData(0, 0, 64, 64).data],
        texture: [...new Uint8Array(buffer.getMappedRange())],
      };
      texture.destroy();
      bitmap.close();
      await model[Symbol.asyncDispose]();
      return result;`,
    );
    expect(got.texture).toEqual(got.want);
    expect(got.bitmap).toEqual(got.want);
    expect(new Set(got.want).size).toBeGreaterThan(16);
    expect(wrong).toEqual([]);
  }, 240_000);
});

describe("a prompt in a page", () => {
  it("is encoded once: what the encoder made of it is kept in the origin's storage", async () => {
    const { page, wrong } = await openPage();
    const got = await inPage<{ stages: string[][]; latents: number[][]; listed: string[][]; cleared: number; after: number }>(
      page,
      `
      const { CogVideoX, listPrompts, clearPrompts } = await import("cogwheel-webgpu");
      const runs = [];
      for (let i = 0; i < 2; i++) {
        const model = await CogVideoX.open("models/moving-shapes");
        runs.push(await model.generate({ prompt: "a red circle", seed: 1, steps: 1, frames: 1 }));
        await model[Symbol.asyncDispose]();
      }
      const { prompts } = await listPrompts();
      return {
        stages: runs.map(({ seconds }) => Object.keys(seconds)),
        latents: runs.map(({ state }) => [...state.latents]),
        listed: prompts.map((one) => one.prompts),
        cleared: (await clearPrompts()).files,
        after: (await listPrompts()).prompts.length,
      };`,
    );
    expect(got.stages.map((stages) => stages.includes("load text encoder"))).toEqual([true, false]);
    expect(got.latents[1]).toEqual(got.latents[0]);
    expect(got.listed).toEqual([["", "a red circle"]]);
    expect([got.cleared, got.after]).toEqual([1, 0]);
    expect(wrong).toEqual([]);
  }, 240_000);
});

describe("a browser that has less", () => {
  it("needs neither Symbol.dispose nor Symbol.asyncDispose nor WebCodecs", async () => {
    const { page, wrong } = await openPage((page) =>
      page.addInitScript(`${withoutDispose} delete globalThis.VideoEncoder; delete globalThis.VideoDecoder;`),
    );
    const got = await inPage<Record<string, unknown>>(
      page,
      `
      const { CogVideoX, encodeVideo } = await import("cogwheel-webgpu");
      const model = await CogVideoX.open("models/moving-shapes");
      const frames = [{ width: 2, height: 2, data: new Uint8Array(16) }];
      const film = await encodeVideo(frames, { format: "mp4", fps: 8 }).then(() => "encoded", (error) => error.message);
      const gif = await encodeVideo(frames, { format: "gif", fps: 8 });
      await model[Symbol.asyncDispose]();
      const after = await model.generate({ prompt: "a circle" }).then(() => "generated", (error) => error.message);
      return { film, gif: gif.length > 0, symbol: typeof Symbol.asyncDispose, after };`,
    );
    expect(got).toEqual({
      film: expect.stringMatching(/^\[video\] MP4 and WebM need WebCodecs, got a browser without VideoEncoder/),
      gif: true,
      symbol: "symbol",
      after: expect.stringContaining("dispose"),
    });
    expect(wrong).toEqual([]);
  });

  it("says what is missing without WebGPU, and where a checkpoint is not", async () => {
    const { page } = await openPage((page) =>
      page.addInitScript("Object.defineProperty(Navigator.prototype, 'gpu', { value: undefined })"),
    );
    const refused = (from: string) =>
      inPage<string>(
        page,
        `const { CogVideoX } = await import("cogwheel-webgpu"); ` +
          `return CogVideoX.open(${JSON.stringify(from)}).then(() => "opened", (error) => error.message);`,
      );
    expect(await refused("models/moving-shapes")).toMatch(/^\[adapter\] WebGPU must be there, got no navigator\.gpu; use a browser/);
    expect(await refused("models/none")).toMatch(/^\[checkpoint\] model_index\.json: .*got no such file; .*\(in http:.*models\/none\/\)/);
  });
});

function psnr(got: ArrayLike<number>, want: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < want.length; i++) sum += (got[i]! - want[i]!) ** 2;
  return 10 * Math.log10(255 ** 2 / (sum / want.length));
}
