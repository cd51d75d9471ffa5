/** Every example runs as it stands: those for Node in processes of their own, those for browsers in Chromium. */
import { execFile, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { decodeVideo } from "../src/video/decode.ts";
import { encodeVideo } from "../src/video/encode.ts";
import { launchChromium, troublesOf } from "./support/chromium.ts";
import { removeTinyCheckpoints, tinyCheckpoint } from "./support/tiny-checkpoint.ts";
import { tinyFrames, tinyTask } from "./support/tiny-tasks.ts";
import { serveFolder } from "../web/server.ts";

const ROOT = join(import.meta.dirname, "..");
let folder: string;
let model: string;
beforeAll(async () => {
  execFileSync(process.execPath, ["build.mjs", "--if-stale"], { cwd: ROOT });
  folder = await mkdtemp(join(tmpdir(), "cogwheel-examples-"));
  model = await tinyCheckpoint();
}, 120_000);
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
  await removeTinyCheckpoints();
});

/** As the README of the examples says. */
async function run(example: string, ...args: string[]): Promise<string> {
  const { stdout } = await promisify(execFile)(process.execPath, ["dist/launch.js", "--exec", `examples/${example}`, ...args], {
    cwd: ROOT,
  });
  return stdout;
}

it("all are here, and in their README", async () => {
  const readme = await readFile(join(ROOT, "examples/README.md"), "utf8");
  const folders = (await readdir(join(ROOT, "examples"), { withFileTypes: true }))
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => name);
  expect(folders.sort()).toEqual([
    "browser",
    "comfyui",
    "custom-op",
    "image-to-video",
    "node",
    "preview-canvas",
    "server",
    "validate",
    "video-to-video",
    "worker",
  ]);
  for (const name of folders) expect(readme).toContain(`[${name}](${name}/`);
});

describe("in Node", () => {
  it("node: a prompt to a file", async () => {
    const out = join(folder, "node.mp4");
    expect(await run("node/generate.mjs", "a red circle", out, model)).toMatch(/step 4 of 4, 0 s left\n.*node\.mp4: 9 frames of 32×16/);
    expect((await decodeVideo(out)).frames.length).toBe(9);
  });
  it("video-to-video: a file to another", async () => {
    const [input, out] = [join(folder, "in.mp4"), join(folder, "v2v.gif")];
    await encodeVideo(tinyFrames(9), { path: input, fps: 8 });
    await run("video-to-video/v2v.mjs", input, "a blue square", out, model);
    expect((await decodeVideo(out)).frames.length).toBe(9);
  });
  it("image-to-video: a picture as the first frame", async () => {
    const [input, out] = [join(folder, "in.png"), join(folder, "i2v.gif")];
    await encodeVideo(tinyFrames(1), { path: input, fps: 8 });
    expect(await run("image-to-video/i2v.mjs", await tinyTask("image"), input, "a boat", out)).toContain("frames that begin with");
    expect((await decodeVideo(out)).frames.length).toBe(9);
  });
  it("server: videos over HTTP, with the progress as events, one after another", async () => {
    const server = spawn(process.execPath, ["dist/launch.js", "--exec", "examples/server/server.mjs", "0", model], { cwd: ROOT });
    const ended = once(server, "exit");
    try {
      const [line] = (await once(server.stdout.setEncoding("utf8"), "data")) as [string];
      const url = /http:\S+/.exec(line)![0];
      const ask = async (prompt: string): Promise<string> => (await fetch(`${url}events?prompt=${prompt}`)).text();
      const [first, second, nothing] = await Promise.all([ask("a+red+circle"), ask("a+blue+square"), ask("")]);
      for (const events of [first, second])
        expect(events).toMatch(/event: progress\ndata: \{"stage":"denoise".*"secondsLeft":[^]*event: done/);
      expect(`${first}${second}`).toContain("event: queued");
      expect(nothing).toMatch(/event: failed\ndata: \{"code":"invalid-request","message":"\[generate\] /);
      const video = await fetch(`${url}${/videos\/[\w-]+/.exec(second)![0]}`);
      expect(video.headers.get("content-type")).toBe("video/mp4");
      expect((await decodeVideo(await video.arrayBuffer())).frames.length).toBe(9);
      expect(await (await fetch(url)).text()).toContain("<form>");
    } finally {
      server.kill("SIGINT");
    }
    expect(await ended).toEqual([0, null]);
  });
  it("validate: a case that passes, one that does not", async () => {
    const cases = join(ROOT, "test/reference/cases/CogVideoXSpatialNorm3D");
    const file = join(cases, (await readdir(cases))[0]!);
    expect(await run("validate/validate.mjs", file)).toMatch(/: pass\n {2}sample: relative L2 \d/);
    const bytes = await readFile(file);
    bytes[bytes.length - 5]! ^= 0xff;
    for (let i = bytes.length - 400; i < bytes.length; i++) bytes[i]! ^= 0x11;
    const broken = join(folder, "broken.safetensors");
    await writeFile(broken, bytes);
    await expect(run("validate/validate.mjs", broken)).rejects.toMatchObject({
      code: 1,
      stdout: expect.stringMatching(/: (fail|cannot be run)/) as string,
    });
  });
  it("custom-op: an op and a kernel of one's own", async () => {
    expect(await run("custom-op/custom-op.mjs")).toMatch(/60 values, off by at most \d\.\de-\d/);
  });
});

describe("in a browser", () => {
  it.each([
    ["browser", "done: 1 frames on google swiftshader"],
    ["preview-canvas", "done: 1 frames"],
    ["worker", "done: 1 frames"],
  ])(
    "%s",
    async (name, end) => {
      await using server = await serveFolder(ROOT);
      const browser: Browser = await launchChromium();
      try {
        const page = await browser.newPage();
        const wrong = troublesOf(page);
        await page.goto(`${server.url}examples/${name}/index.html?settings=${encodeURIComponent('{"steps":2,"frames":1}')}`);
        await page
          .waitForFunction((end) => document.querySelector("#status")!.textContent === end, end, { timeout: 200_000 })
          .catch(async (error: unknown) => {
            throw new Error(`${await page.textContent("#status")}; ${wrong.join("; ")}`, { cause: error });
          });
        if (name === "browser") await page.waitForFunction(() => document.querySelector("video")!.videoWidth === 64);
        else
          expect(
            await page.screenshot({ clip: (await page.locator("canvas").boundingBox())! }).then((png) => new Set(png).size),
          ).toBeGreaterThan(50);
        expect(wrong).toEqual([]);
      } finally {
        await browser.close();
      }
    },
    240_000,
  );
});
