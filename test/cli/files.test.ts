/** Files that commands read and write: what never ends, and two names of one place. */
import { execFileSync, spawn } from "node:child_process";
import { closeSync, constants, mkdirSync, mkdtempSync, openSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { checkDistinct, readInput, samePath } from "../../src/cli/files.ts";

let place: string;
beforeAll(() => void (place = realpathSync(mkdtempSync(join(tmpdir(), "cogwheel-files-")))));
afterAll(() => rmSync(place, { recursive: true, force: true }));

interface Ended {
  code: number | null;
  signal: string | null;
  err: string;
}

/** Runs the command in a process of its own. */
function run(args: string[], begun?: (child: ReturnType<typeof spawn>) => Promise<void>): Promise<Ended> {
  const child = spawn(process.execPath, [resolve("dist/launch.js"), ...args], { cwd: place, stdio: ["ignore", "ignore", "pipe"] });
  let err = "";
  child.stderr.on("data", (text: Buffer) => (err += text.toString()));
  void begun?.(child);
  return new Promise((done) => child.on("close", (code, signal) => done({ code, signal, err: err.replace(/^Warning: .*\n/gm, "") })));
}

/** Opens the end of a named pipe that is written to, as soon as somebody reads it. */
async function writingEnd(pipe: string): Promise<number> {
  for (;;) {
    try {
      return openSync(pipe, constants.O_WRONLY | constants.O_NONBLOCK);
    } catch {
      await new Promise((resume) => setTimeout(resume, 20)); // ENXIO: nobody yet
    }
  }
}

describe.skipIf(process.platform === "win32")("what has no end", () => {
  it("a device is refused in words", async () => {
    const { code, err } = await run(["generate", "--latents", "/dev/zero", "--out", "a.gif"]);
    expect([code, err]).toEqual([
      1,
      expect.stringMatching(/^\[input\] \/dev\/zero must have at most 268,435,456 bytes, got more; check the path$/m),
    ]);
  });

  it("a pipe that nobody writes to ends with the command", async () => {
    const silent = join(place, "silent");
    execFileSync("mkfifo", [silent]);
    let end: number | undefined;
    const { code, err } = await run(["vae", "decode", "silent", "--out", "a.gif"], async (child) => {
      end = await writingEnd(silent);
      child.kill("SIGTERM");
    });
    closeSync(end!);
    expect([code, err]).toEqual([143, expect.not.stringMatching(/^ +at |\[input\]/m)]);
  });

  it("a pipe is waited for, and read to its end, or no further than the signal lets", async () => {
    const pipe = join(place, "pipe");
    execFileSync("mkfifo", [pipe]);
    const text = "x".repeat(3_000_000);
    writeFileSync(join(place, "text"), text);
    const read = readInput(pipe);
    const writer = spawn("bash", ["-c", `sleep 0.2; cat "$1" > "$2"`, "bash", join(place, "text"), pipe]);
    expect(Buffer.from(await read).toString() === text).toBe(true);
    await new Promise((done) => writer.once("close", done));
    const begun = performance.now();
    await expect(readInput(pipe, { signal: AbortSignal.timeout(100) })).rejects.toThrow(/timeout/);
    expect(performance.now() - begun).toBeLessThan(5000);
    await expect(readInput(join(place, "text"), { limit: 10 })).rejects.toThrow(/at most 10 bytes, got more/);
  });
});

it("a file is read by a Node whose handles are not disposable (before 20.4)", async () => {
  writeFileSync(join(place, "latents"), "abc");
  const handle = await open(join(place, "latents"));
  const prototype = Object.getPrototypeOf(handle) as object;
  await handle.close();
  const own = Object.getOwnPropertyDescriptor(prototype, Symbol.asyncDispose);
  Reflect.deleteProperty(prototype, Symbol.asyncDispose);
  try {
    expect(Buffer.from(await readInput(join(place, "latents"))).toString()).toBe("abc");
  } finally {
    if (own) Object.defineProperty(prototype, Symbol.asyncDispose, own);
  }
});

describe("two names of one place that is not there yet", () => {
  const refused = /results must have places of their own, got .+ for --save-latents and --out/;

  it.skipIf(process.platform === "win32")("through links of its folder, one that is there and one that is to be made", async () => {
    mkdirSync(join(place, "real"));
    symlinkSync("real", join(place, "link"));
    symlinkSync("real/a", join(place, "named"));
    const both = (a: string, b: string): Promise<void> =>
      checkDistinct(
        [
          ["--save-latents", join(place, a)],
          ["--out", join(place, b)],
        ],
        [],
      );
    for (const [a, b] of [
      ["link/a", "real/a"],
      ["link/new/deep/a", "real/new/deep/a"],
      ["named", "link/a"],
      ["real/../link/a", "named"],
    ] as const)
      await expect(both(a, b), `${a}, ${b}`).rejects.toThrow(refused);
    await both("link/a", "real/b");
    await both("link/a", "a");
  });

  it("by case, where disks ignore it", () => {
    expect([
      samePath("/a/Film.mp4", "/a/film.MP4", "darwin"),
      samePath("/a/Film.mp4", "/a/film.mp4", "win32"),
      samePath("/a/Film.mp4", "/a/film.mp4", "linux"),
    ]).toEqual([true, true, false]);
    expect(samePath("/a/u\u0308.gif", "/a/\u00fc.gif", "darwin")).toBe(true);
  });
});
