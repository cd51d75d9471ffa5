/** What a reader's program and its host say to one another, at the seams that whole files do not come to. */
import { execFileSync, spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { CogwheelError } from "../../src/base/errors.ts";
import { DEFAULT_LIMITS, refuseBeyondFrames, refuseBeyondPixels } from "../../src/video/read/limits.ts";
import { Customs, errorMessage, warningMessage } from "../../src/video/sandbox/messages.ts";
import { encodeHead, PipeReader } from "../../src/video/sandbox/node-pipe.ts";
import { environment } from "../../src/video/sandbox/node-program.ts";
import { StrayErrors } from "../../src/video/sandbox/stray.ts";
import { startBare } from "../support/bare.ts";

const ROOT = join(import.meta.dirname, "../..");
const limits = { ...DEFAULT_LIMITS, memory: 2 ** 31, seconds: 20 };
const request = { name: "x.png", maxFrames: 3, limits };

let folder: string;
beforeAll(async () => {
  execFileSync(process.execPath, ["build.mjs", "--if-stale"], { cwd: ROOT });
  folder = await mkdtemp(join(tmpdir(), "cogwheel-reader-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

describe("the program", () => {
  const start = () => {
    const child = spawn(process.execPath, [join(ROOT, "dist/cogwheel-media.js"), String(process.pid)], {
      stdio: ["pipe", "ignore", "pipe", "pipe", "pipe"],
    });
    const answers = new PipeReader(child.stdio[3] as Readable, () => {});
    return {
      child,
      code: new Promise((resolve) => child.on("exit", resolve)),
      next: async () => (await answers.next(1e6, (what) => new Error(what)))?.message,
    };
  };

  it("says that it is ready, and refuses bytes for which there is no memory without taking them; it is not asked again then", async () => {
    const { child, next } = start();
    child.stdin!.write(encodeHead(request, 2 ** 33));
    expect(await next()).toEqual({ type: "ready" });
    expect(await next()).toMatchObject({
      type: "error",
      rule: expect.stringMatching(/^x\.png must be at most [\d,]+ MiB, what can be in memory here, got 8192; /),
      spent: true,
    });
    child.kill("SIGKILL");
  });

  it("ends where it is asked for what it cannot understand", async () => {
    const { child, code, next } = start();
    expect(await next()).toEqual({ type: "ready" });
    child.stdin!.write(Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x7b)); // "{"
    expect(await code).toBe(1);
  });

  it("may say without end why it ends: its host keeps a word of it", async () => {
    const reader = join(folder, "talker.mjs");
    await writeFile(
      reader,
      `import { writeSync } from "node:fs"; const much = new Uint8Array(2 ** 20).fill(120); ` +
        "for (let i = 0; i < 200; i++) for (let at = 0; at < much.length; ) { try { at += writeSync(4, much, at); " +
        `} catch (error) { if (error.code !== "EAGAIN") throw error; } } process.exit(3);`,
    );
    const body = `
      globalThis.gc = (await import("node:vm")).runInNewContext("gc", ((await import("node:v8")).setFlagsFromString("--expose-gc"), {}));
      const before = process.memoryUsage().rss;
      const message = await cogwheel.decodeVideo(new Uint8Array(9), { reader: args[0] }).catch((error) => error.message);
      gc();
      console.log(message.includes("exit code 3"), process.memoryUsage().rss - before < 120 * 2 ** 20);`;
    expect(await startBare(body, [reader]).ended).toMatchObject({ out: "true true\n", err: "" });
  });
});

describe("its environment", () => {
  const kept = process.env["NODE_OPTIONS"];
  afterEach(() => {
    if (kept === undefined) delete process.env["NODE_OPTIONS"];
    else process.env["NODE_OPTIONS"] = kept;
  });

  it.each<[string, string | undefined]>([
    ["--require /app/monitor.js --inspect-port 9230 --max-old-space-size=64", undefined],
    [
      "--require /app/monitor.js --require /app/.pnp.cjs --experimental-loader file:///app/.pnp.loader.mjs",
      "--require /app/.pnp.cjs --experimental-loader file:///app/.pnp.loader.mjs",
    ],
    [`--require "/my app/.pnp.cjs" --enable-source-maps`, `--require "/my app/.pnp.cjs"`],
  ])("has of Node's options what finds packages: %s", (options, left) => {
    process.env["NODE_OPTIONS"] = options;
    expect(environment()["NODE_OPTIONS"]).toBe(left);
  });
});

describe("what is said", () => {
  it("is no longer than the host believes, whatever an error or a warning says", () => {
    const long = "\u0001é".repeat(1e6);
    for (const error of [
      new Error(long),
      new CogwheelError("video", long, { lines: Array.from({ length: 1000 }, () => long.slice(0, 1000)) }),
      Object.assign(new Error("x"), { stack: long }),
      long,
    ]) {
      const message = errorMessage(error, "x.png");
      expect(encodeHead(message, 0).length).toBeLessThan(50_000);
      expect(() => new Customs(request).take(message, undefined)).toThrow(/^\[video\] /);
    }
    expect(encodeHead(warningMessage(long), 0).length).toBeLessThan(50_000);
    expect(errorMessage(new Error(long), "x.png").rule).toMatch(/; convert it$/);
  });

  it("is visible, in warnings as in errors, and what is left out of them is counted", () => {
    const heard: string[] = [];
    const customs = new Customs(request, (text) => heard.push(text));
    for (let i = 0; i < 25; i++) customs.take({ type: "warning", text: `${i} \u202eabc\u2028\u001b[31m` }, undefined);
    customs.take({ type: "end" }, undefined);
    expect(heard).toHaveLength(21);
    expect(heard[0]).toBe("0 \\u202eabc\\u2028\\x1b[31m");
    expect(heard[20]).toBe("x.png has 5 more warnings of this kind, which are left out");
  });

  it("names the limit that would let a file pass", () => {
    const asked = { name: "x.png", maxFrames: Infinity, limits: { pixels: 100, frames: 3, bytes: 1000 } };
    expect(() => refuseBeyondPixels(asked, 20, 20)).toThrow("got 20×20 in its header; scale it down first, or raise limits.pixels");
    expect(() => refuseBeyondPixels(asked, 20, 20, "when its pixels are square")).toThrow("got 20×20 when its pixels are square; ");
    expect(() => refuseBeyondFrames(asked, 1, 1, 4)).toThrow(/or raise limits\.frames$/);
    expect(() => refuseBeyondFrames(asked, 10, 10, 3)).toThrow(/must be at most 0\.1 MiB when it is decoded, .* or raise limits\.bytes$/);
    const customs = new Customs({ ...request, limits: { ...limits, bytes: 3 } });
    expect(() => customs.take({ type: "frame", width: 1, height: 1 }, new Uint8Array(4))).toThrow(
      /^\[video\] x\.png must be at most 0\.1 MiB when it is decoded, .* or raise limits\.bytes$/,
    );
  });
});

it("a stray error is remembered where the file ends by itself before it is told", () => {
  const stray = new StrayErrors(
    () => {},
    () => {},
  );
  stray.caught(new Error("between files"));
  expect(stray.came).toBe(false);
  stray.reading("x.png");
  stray.caught(new Error("of the file"));
  expect(stray.came).toBe(true);
  stray.reading(undefined);
  stray.reading("y.png");
  expect(stray.came).toBe(false);
});
