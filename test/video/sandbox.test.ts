/** Where strangers' files are read in Node: a process that can be ended, seen from processes that have nothing else to do. */
import { execFileSync, spawn, spawnSync, type ChildProcess } from "node:child_process";
import { closeSync, existsSync, openSync } from "node:fs";
import { mkdir, mkdtemp, open, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { decodeVideo } from "../../src/video/decode.ts";
import { encodeVideo } from "../../src/video/encode.ts";
import { readersOf, isAlive, NODES, startBare } from "../support/bare.ts";
import { film } from "../support/film.ts";

const ROOT = join(import.meta.dirname, "../..");
const ENDLESS = join(import.meta.dirname, "fixtures/endless.webm");
const posix = describe.skipIf(process.platform === "win32"); // needs signals and ps

let folder: string;
const at = (name: string): string => join(folder, name);
beforeAll(async () => {
  execFileSync(process.execPath, ["build.mjs", "--if-stale"], { cwd: ROOT });
  folder = await mkdtemp(join(tmpdir(), "cogwheel-sandbox-"));
  const long = film({ width: 32, height: 32, count: 200 });
  await Promise.all(["mp4", "webm", "gif"].map((ending) => encodeVideo(long, { path: at(`long.${ending}`), fps: 25 })));
  await encodeVideo(film({ count: 1 }), { path: at("one.png"), fps: 8 });
  await encodeVideo(film({ count: 12 }), { path: at("frames/"), fps: 8 });
});
afterAll(() => rm(folder, { recursive: true, force: true }));

describe.each(NODES)("in a process that does nothing else, %s", (node) => {
  it.each(["await", "then"])("films of 200 frames are read to their end: %s", async (way) => {
    const body = way === "await"
      ? `const { frames } = await cogwheel.decodeVideo(args[0]); console.log(frames.length);`
      : `cogwheel.decodeVideo(args[0]).then(({ frames }) => console.log(frames.length));`;
    await Promise.all(["mp4", "webm", "gif"].map(async (ending) => {
      const { out, err, code, lingered } = await startBare(body, [at(`long.${ending}`)], node).ended;
      expect([ending, out, err, code]).toEqual([ending, "200\n", "", 0]);
      expect(lingered, "milliseconds that it is held after").toBeLessThan(1900);
    }));
  });

  it.each(["await", "then"])("films of 200 frames are written to their end: %s", async (way) => {
    const made = `const frames = (function* () { for (let i = 0; i < 200; i++) yield { width: 320, height: 240, data: new Uint8Array(4 * 320 * 240).fill(i) }; })();`;
    const body = way === "await" ? `console.log((await cogwheel.encodeVideo(frames, args[0])).length > 1000);` : `cogwheel.encodeVideo(frames, args[0]).then((bytes) => console.log(bytes.length > 1000));`;
    await Promise.all(["mp4", "webm"].map(async (format) => {
      const { out, err, code } = await startBare(made + body, [{ format, fps: 25 }], node).ended;
      expect([format, out, err, code]).toEqual([format, "true\n", "", 0]);
    }));
  });

  it("a film whose demuxer never ends is refused in words at the limit, and the next file is read", async () => {
    const body = `
      const words = (error) => error.constructor === cogwheel.CogwheelError ? error.message : error.stack;
      console.log(await cogwheel.decodeVideo(args[0], { limits: { seconds: 1.5 } }).catch(words));
      console.log((await cogwheel.decodeVideo(args[1])).frames.length);`;
    const { out, err, code } = await startBare(body, [ENDLESS, at("one.png")], node).ended;
    expect(out).toMatch(/^\[video\] \S+endless\.webm must be read ahead at least every 1\.5 s, got a file on which the reader made no progress.*; convert it.*\n1\n$/);
    expect([err, code]).toEqual(["", 0]);
  });
});

posix("a reader that is stuck", () => {
  const STUCK = `cogwheel.decodeVideo(args[0]).then(() => console.log("read"), (error) => console.log(error.message));`;
  const startStuck = async (more = "") => {
    const { child, ended } = startBare(more + STUCK, [ENDLESS]);
    return { child, ended, readers: await begun(child) };
  };
  /** The reader that a process has started, when it has got as far as the loop. */
  const begun = async (child: ChildProcess): Promise<number[]> => {
    await expect.poll(() => readersOf(child.pid!).length, { timeout: 30_000 }).toBe(1);
    await new Promise((resolve) => setTimeout(resolve, 500));
    return readersOf(child.pid!);
  };
  const noneOf = (pids: number[]) => expect.poll(() => pids.filter(isAlive), { timeout: 10_000, interval: 20 }).toEqual([]);

  it("ends with its parent, whatever ended that", async () => {
    await Promise.all((["SIGTERM", "SIGINT", "SIGHUP", "SIGKILL"] as const).map(async (signal) => {
      const { child, ended, readers } = await startStuck();
      child.kill(signal);
      expect((await ended).signal).toBe(signal);
      await noneOf(readers);
    }));
  });

  it("ends with a parent that exits, or that fails", async () => {
    await Promise.all(["process.exit(3)", `throw new Error("elsewhere")`].map(async (end) => {
      const { child, ended, readers } = await startStuck(`process.on("SIGUSR2", () => { ${end} });`);
      child.kill("SIGUSR2");
      await ended;
      await noneOf(readers);
    }));
  });

  it("ends at abort at once, and is waited for", async () => {
    const before = readersOf(process.pid);
    const from = performance.now();
    await expect(decodeVideo(ENDLESS, { signal: AbortSignal.timeout(300) })).rejects.toThrow(/aborted due to timeout/);
    expect(performance.now() - from).toBeLessThan(3000);
    expect(readersOf(process.pid).filter((pid) => !before.includes(pid))).toEqual([]);
  });

  it("and is killed by somebody is told as what it is", async () => {
    const { ended, readers } = await startStuck();
    process.kill(readers[0]!, "SIGKILL");
    expect((await ended).out).toMatch(/^\[video\] \S+endless\.webm must be a file that can be read, got one on which the reader's process ended with SIGKILL, .*; convert it\n$/);
  });

  it("ends with the command that reads, at SIGTERM", async () => {
    const child = spawn(process.execPath, [join(ROOT, "dist/launch.js"), "vae", "encode", ENDLESS, "--out", at("never.safetensors")], { stdio: "ignore" });
    const code = new Promise((resolve) => child.on("close", resolve));
    const readers = await begun(child);
    child.kill("SIGTERM");
    expect(await code).toBe(143);
    await noneOf(readers);
  });
});

describe("the limits", () => {
  it("of memory: a film that takes more is refused in words, a picture is not", async () => {
    const large = await encodeVideo(film({ width: 1920, height: 1080, count: 3 }), { format: "mp4", fps: 8 });
    const limits = { memory: 120 * 2 ** 20 };
    await expect(decodeVideo(large, { limits })).rejects.toThrow(/^\[video\] the video must be read within 120 MiB of memory, got a file that takes more.*; .*limits\.memory$/);
    expect((await decodeVideo(at("one.png"), { limits })).frames).toHaveLength(1);
    expect((await decodeVideo(large)).frames).toHaveLength(3);
  });

  it("of the file itself, which is not begun", async () => {
    const file = await open(at("huge.mp4"), "w");
    await file.truncate(2 ** 33); // no blocks
    await file.close();
    await expect(decodeVideo(at("huge.mp4"))).rejects.toThrow(/^\[video\] \S+huge\.mp4 must be at most \d+ MiB, what can be in memory here, got 8192; cut out/);
  });

  it("of all frames together", async () => {
    await expect(decodeVideo(at("long.webm"), { limits: { bytes: 4 * 32 * 32 * 150 } })).rejects.toThrow(/^\[video\] .*; /);
    expect((await decodeVideo(at("long.webm"), { maxFrames: 150, limits: { bytes: 4 * 32 * 32 * 150 } })).frames).toHaveLength(150);
  });

  it("must be numbers that there are", async () => {
    await expect(decodeVideo(at("one.png"), { limits: { seconds: 0 } })).rejects.toThrow("[video] limits must be positive numbers for pixels, frames, bytes, memory, seconds, got seconds 0");
    await expect(decodeVideo(at("one.png"), { limits: { time: 3 } as object })).rejects.toThrow("got time 3");
  });
});

posix("one reader", () => {
  it("serves a folder of pictures and the files after it, and leaves when there are none", async () => {
    await expect.poll(() => readersOf(process.pid), { timeout: 6000 }).toEqual([]);
    expect((await decodeVideo(at("frames"))).frames).toHaveLength(12);
    const [first] = readersOf(process.pid);
    expect((await decodeVideo(at("long.mp4"), { maxFrames: 5 })).frames).toHaveLength(5);
    await expect(decodeVideo(new TextEncoder().encode("not a video at all"))).rejects.toThrow("[video]");
    expect(readersOf(process.pid)).toEqual([first]);
    await expect.poll(() => readersOf(process.pid), { timeout: 6000 }).toEqual([]);
  });

  it("is not shared by files that are read at once", async () => {
    const all = await Promise.all(["long.mp4", "long.webm", "long.gif", "one.png"].map((name) => decodeVideo(at(name), { maxFrames: 30 })));
    expect(all.map(({ frames }) => frames.length)).toEqual([30, 30, 30, 1]);
  });

  it("reads what can be read only once, a pipe", async () => {
    execFileSync("mkfifo", [at("pipe")]);
    const read = decodeVideo(at("pipe"));
    await writeFile(at("pipe"), await encodeVideo(film({ count: 3 }), { format: "gif", fps: 8 }));
    expect((await read).frames).toHaveLength(3);
  });

  it("waits for nobody who writes into a pipe after an abort", async () => {
    execFileSync("mkfifo", [at("silent")]);
    const unopened = decodeVideo(at("silent"), { signal: AbortSignal.timeout(50) });
    await expect(unopened).rejects.toMatchObject({ name: "TimeoutError" });
    const writer = await open(at("silent"), "w");
    const unwritten = decodeVideo(at("silent"), { signal: AbortSignal.timeout(50) });
    await expect(unwritten).rejects.toMatchObject({ name: "TimeoutError" });
    await writer.close();
  });

  it("refuses devices, which have no end", async () => {
    await expect(decodeVideo("/dev/zero")).rejects.toThrow("[video] /dev/zero must be a file, a folder or a pipe, got a device; give a film or a picture");
  });

  it.runIf(existsSync("/dev/stdin"))("a file that is standard input is not taken for the reader's own", async () => {
    const input = openSync(at("long.mp4"), "r");
    const script = `import { decodeVideo } from ${JSON.stringify(pathToFileURL(join(import.meta.dirname, "../../dist/node.js")).href)}; console.log((await decodeVideo("/dev/stdin", { maxFrames: 2 })).frames.length);`;
    const { status, stdout, stderr } = spawnSync(process.execPath, ["--input-type=module", "-e", script], { stdio: [input, "pipe", "pipe"], encoding: "utf8" });
    closeSync(input);
    expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: "2\n", stderr: "" });
  });
});

/** A reader that was taken over by a file, as one that would be: a program that says what it likes. */
describe("a reader that cannot be believed", () => {
  const PRELUDE = `
    import { writeSync, readSync } from "node:fs";
    readSync(0, new Uint8Array(65536));
    const send = (message, bytes = new Uint8Array(), length = bytes.length) => {
      const json = new TextEncoder().encode(typeof message === "string" ? message : JSON.stringify(message));
      const head = new DataView(new ArrayBuffer(12));
      head.setUint32(0, json.length, true);
      head.setFloat64(4, length, true);
      for (const part of [new Uint8Array(head.buffer), json, bytes]) if (part.length) writeSync(3, part);
    };\n`;
  const stay = `setInterval(() => {}, 1000);`;
  it.each<[string, string, RegExp]>([
    ["a native crash", `process.kill(process.pid, "SIGSEGV"); ${stay}`, /must be a file that can be read, got one on which the reader's process ended with SIGSEGV/],
    ["an abort", `process.abort();`, /ended with SIGABRT/],
    ["an exit", `process.exit(7);`, /ended with exit code 7/],
    ["out of its heap", `const all = []; for (;;) all.push(new Array(1e6).fill(0.5));`, /must be read within 1024 MiB of memory/],
    ["a frame of another size than its bytes", `send({ type: "frame", width: 9, height: 9 }, new Uint8Array(9)); ${stay}`, /answered with a frame of 9×9 in 9 bytes/],
    ["a frame beyond the limit", `send({ type: "frame", width: 1e6, height: 1e6 }, new Uint8Array(), 4e12); ${stay}`, /answered with \d+ and 4000000000000 bytes at once/],
    ["a negative size", `send({ type: "frame", width: -1, height: -1 }, new Uint8Array(4)); ${stay}`, /answered with a frame of -1×-1/],
    ["frames without end", `for (;;) send({ type: "frame", width: 1, height: 1 }, new Uint8Array(4));`, /answered with more than 3 frames/],
    ["no JSON", `send("{"); ${stay}`, /answered with no JSON/],
    ["null", `send("null"); ${stay}`, /a message that it does not know/],
    ["a library's words on a terminal", `console.error("boo"); send({ type: "error", rule: "x\\u001b[31m must be whole, got\\nlines; mend it" }); ${stay}`, /^\[video\] x \[31m must be whole, got lines; mend it$/],
  ])("%s", async (_, body, words) => {
    await mkdir(at("readers"), { recursive: true });
    const reader = at(`readers/${Math.random().toString(36).slice(2)}.mjs`);
    await writeFile(reader, PRELUDE + body);
    const { out, err, code } = await startBare(`console.log(await cogwheel.decodeVideo(args[0], { reader: args[1], maxFrames: 3 }).catch((error) => error.constructor === cogwheel.CogwheelError ? error.message : error.stack));`, [at("one.png"), reader]).ended;
    expect(out.replace(/\n$/, "")).toMatch(words);
    expect([err, code]).toEqual(["", 0]);
  });
});
