/** Where strangers' files are read in Node: a process that can be ended, seen from processes that have nothing else to do. */
import { execFileSync, spawn, spawnSync, type ChildProcess } from "node:child_process";
import { closeSync, constants, existsSync, openSync } from "node:fs";
import { copyFile, cp, mkdir, mkdtemp, open, rm, symlink, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { CogwheelError } from "../../src/base/errors.ts";
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
    const body =
      way === "await"
        ? `const { frames } = await cogwheel.decodeVideo(args[0]); console.log(frames.length);`
        : `cogwheel.decodeVideo(args[0]).then(({ frames }) => console.log(frames.length));`;
    await Promise.all(
      ["mp4", "webm", "gif"].map(async (ending) => {
        const { out, err, code, lingered } = await startBare(body, [at(`long.${ending}`)], node).ended;
        expect([ending, out, err, code]).toEqual([ending, "200\n", "", 0]);
        expect(lingered, "milliseconds that it is held after").toBeLessThan(1900);
      }),
    );
  });

  it.each(["await", "then"])("films of 200 frames are written to their end: %s", async (way) => {
    const made =
      "const frames = (function* () { for (let i = 0; i < 200; i++) yield { width: 320, height: " +
      "240, data: new Uint8Array(4 * 320 * 240).fill(i) }; })();";
    const body =
      way === "await"
        ? `console.log((await cogwheel.encodeVideo(frames, args[0])).length > 1000);`
        : `cogwheel.encodeVideo(frames, args[0]).then((bytes) => console.log(bytes.length > 1000));`;
    await Promise.all(
      ["mp4", "webm"].map(async (format) => {
        const { out, err, code } = await startBare(made + body, [{ format, fps: 25 }], node).ended;
        expect([format, out, err, code]).toEqual([format, "true\n", "", 0]);
      }),
    );
  });

  it("a film whose demuxer never ends is refused in words at the limit, and the next file is read", async () => {
    const body = `
      const words = (error) => error.constructor === cogwheel.CogwheelError ? error.message : error.stack;
      console.log(await cogwheel.decodeVideo(args[0], { limits: { seconds: 1.5 } }).catch(words));
      console.log((await cogwheel.decodeVideo(args[1])).frames.length);`;
    const { out, err, code } = await startBare(body, [ENDLESS, at("one.png")], node).ended;
    expect(out).toMatch(
      /^\[video\] \S+endless\.webm must be read ahead at least every 1\.5 s, got a file on which the reader made no progress.*; convert it.*\n1\n$/,
    );
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
    await Promise.all(
      (["SIGTERM", "SIGINT", "SIGHUP", "SIGKILL"] as const).map(async (signal) => {
        const { child, ended, readers } = await startStuck();
        child.kill(signal);
        expect((await ended).signal).toBe(signal);
        await noneOf(readers);
      }),
    );
  });

  it("ends with a parent that exits, or that fails", async () => {
    await Promise.all(
      ["process.exit(3)", `throw new Error("elsewhere")`].map(async (end) => {
        const { child, ended, readers } = await startStuck(`process.on("SIGUSR2", () => { ${end} });`);
        child.kill("SIGUSR2");
        await ended;
        await noneOf(readers);
      }),
    );
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
    expect((await ended).out).toMatch(
      /^\[video\] \S+endless\.webm must be a file that can be read, got one on which the reader's process ended with SIGKILL, .*; convert it\n$/,
    );
  });

  it("ends with the command that reads, at SIGTERM", async () => {
    const child = spawn(process.execPath, [join(ROOT, "dist/launch.js"), "vae", "encode", ENDLESS, "--out", at("never.safetensors")], {
      stdio: "ignore",
    });
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
    await expect(decodeVideo(large, { limits })).rejects.toThrow(
      /^\[video\] the video must be read within 120 MiB of memory, got a file that takes more.*; .*limits\.memory$/,
    );
    expect((await decodeVideo(at("one.png"), { limits })).frames).toHaveLength(1);
    expect((await decodeVideo(large)).frames).toHaveLength(3);
  });

  it("of the file itself, which is not begun", async () => {
    const file = await open(at("huge.mp4"), "w");
    await file.truncate(2 ** 33); // no blocks
    await file.close();
    await expect(decodeVideo(at("huge.mp4"))).rejects.toThrow(
      /^\[video\] \S+huge\.mp4 must be at most \d+ MiB, what can be in memory here, got 8192; cut out/,
    );
  });

  it("of all frames together", async () => {
    await expect(decodeVideo(at("long.webm"), { limits: { bytes: 4 * 32 * 32 * 150 } })).rejects.toThrow(/^\[video\] .*; /);
    expect((await decodeVideo(at("long.webm"), { maxFrames: 150, limits: { bytes: 4 * 32 * 32 * 150 } })).frames).toHaveLength(150);
  });

  it("of memory: what the files before left in a reader is not the next one's", async () => {
    const large = at("large.png");
    await copyFile(at("one.png"), large);
    await truncate(large, 200 * 2 ** 20);
    const limits = { memory: 180 * 2 ** 20 };
    for (let time = 0; time < 3; time++) {
      expect((await decodeVideo(large, { limits })).frames).toHaveLength(1);
      expect((await decodeVideo(at("long.mp4"), { limits })).frames).toHaveLength(200);
    }
  });

  it("may be taken away", async () => {
    const none = { pixels: Infinity, frames: Infinity, bytes: Infinity, memory: Infinity, seconds: Infinity };
    for (const limits of [none, { seconds: 2 ** 31 }, { memory: 2 ** 51 }, { memory: undefined } as object])
      expect((await decodeVideo(at("long.gif"), { limits })).frames).toHaveLength(200);
  });

  it("of frames hold for a folder as for a film", async () => {
    for (const maxFrames of [-1, 0, 2.5, NaN]) {
      for (const name of ["frames", "long.gif"])
        await expect(decodeVideo(at(name), { maxFrames })).rejects.toThrow(
          `[video] maxFrames must be a positive whole number, got ${maxFrames}`,
        );
    }
    expect((await decodeVideo(at("frames"), { maxFrames: 4 })).frames).toHaveLength(4);
  });

  it("of bytes hold for a folder, whose other sizes are not waited for", async () => {
    await mkdir(at("sizes"));
    await encodeVideo(film({ width: 2, height: 2, count: 1 }), { path: at("sizes/a.png"), fps: 8 });
    await encodeVideo(film({ width: 200, height: 200, count: 1 }), { path: at("sizes/b.png"), fps: 8 });
    await writeFile(at("sizes/c.png"), "no picture");
    await expect(decodeVideo(at("sizes"))).rejects.toThrow("must have frames of one size, got 2×2 and 200×200; scale them to one");
    await expect(decodeVideo(at("sizes"), { limits: { bytes: 1000 } })).rejects.toThrow(
      /sizes\/b\.png must be at most .* MiB when it is decoded/,
    );
    const { width, height } = await decodeVideo(at("one.png"));
    await expect(decodeVideo(at("frames"), { limits: { bytes: 4 * width * height * 11 } })).rejects.toThrow(
      /frames must be at most .* MiB when it is decoded, got 12 frames/,
    );
    expect((await decodeVideo(at("frames"), { limits: { bytes: 4 * width * height * 12 } })).frames).toHaveLength(12);
  });

  it("of time are not for a parent that is busy", async () => {
    const body = `
      const bytes = new Uint8Array(60 * 2 ** 20);
      bytes.set((await import("node:fs")).readFileSync(args[0]));
      await cogwheel.decodeVideo(args[0]); // a reader that has started
      const read = cogwheel.decodeVideo(bytes, { limits: { seconds: 0.5 } }).then(({ frames }) => frames.length, (error) => error.message);
      await new Promise((resolve) => setTimeout(resolve, 1));
      for (const from = Date.now(); Date.now() - from < 2000;);
      console.log(await read);`;
    expect((await startBare(body, [at("one.png")]).ended).out).toBe("1\n");
  });

  it("must be numbers that there are", async () => {
    await expect(decodeVideo(at("one.png"), { limits: { seconds: 0 } })).rejects.toThrow(
      "[video] limits must be positive numbers for pixels, frames, bytes, memory, seconds, got seconds 0",
    );
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

  it("that died meanwhile is replaced by one that serves all that follow", async () => {
    await decodeVideo(at("one.png"));
    const [first] = readersOf(process.pid);
    process.kill(first!, "SIGKILL");
    await expect.poll(() => isAlive(first!)).toBe(false);
    await decodeVideo(at("one.png"));
    const second = readersOf(process.pid);
    expect(second).toHaveLength(1);
    await decodeVideo(at("one.png"));
    expect(readersOf(process.pid)).toEqual(second);
  });

  it("is not waited for at a path without an end, which an abort leaves at once", async () => {
    execFileSync("mkfifo", [at("nobody")]);
    const body = `
      const words = (error) => error.message;
      console.log(await cogwheel.decodeVideo(args[0], { signal: AbortSignal.timeout(300) }).catch(words));`;
    const { out, code, lingered } = await startBare(body, [at("nobody")]).ended;
    expect([out, code]).toEqual(["The operation was aborted due to timeout\n", 0]);
    expect(lingered).toBeLessThan(1900);
    const writer = await open(at("nobody"), constants.O_RDWR);
    const silent = startBare(
      `console.log(await cogwheel.decodeVideo(args[0], { signal: AbortSignal.timeout(500) }).catch((error) => error.message));`,
      [at("nobody")],
    );
    expect(await silent.ended).toMatchObject({ out: "The operation was aborted due to timeout\n", code: 0 });
    await writer.close();
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
    const writer = await open(at("silent"), constants.O_RDWR);
    const unwritten = decodeVideo(at("silent"), { signal: AbortSignal.timeout(50) });
    await expect(unwritten).rejects.toMatchObject({ name: "TimeoutError" });
    await writer.close();
  });

  it("is not asked for what is not there, which is told in the words of the house", async () => {
    await expect(decodeVideo(at("nothing.mp4"))).rejects.toThrow(
      `[video] ${at("nothing.mp4")} must be a file that can be read, got ENOENT: no such file; check the path`,
    );
  });

  it("refuses devices, which have no end", async () => {
    await expect(decodeVideo("/dev/zero")).rejects.toThrow(
      "[video] /dev/zero must be a file, a folder or a pipe, got a device; give a film or a picture",
    );
  });

  it.runIf(existsSync("/dev/stdin"))("a file that is standard input is not taken for the reader's own", async () => {
    const input = openSync(at("long.mp4"), "r");
    const script =
      `import { decodeVideo } from ${JSON.stringify(pathToFileURL(join(import.meta.dirname, "../../dist/node.js")).href)}; ` +
      `console.log((await decodeVideo("/dev/stdin", { maxFrames: 2 })).frames.length);`;
    const { status, stdout, stderr } = spawnSync(process.execPath, ["--input-type=module", "-e", script], {
      stdio: [input, "pipe", "pipe"],
      encoding: "utf8",
    });
    closeSync(input);
    expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: "2\n", stderr: "" });
  });
});

/** A reader that was taken over by a file, as one that would be: a program that says what it likes. */
describe("a reader that cannot be believed", () => {
  const PRELUDE = `
    import { closeSync, writeSync, readSync } from "node:fs";
    readSync(0, new Uint8Array(65536));
    const send = (message, bytes = new Uint8Array(), length = bytes.length) => {
      const json = new TextEncoder().encode(typeof message === "string" ? message : JSON.stringify(message));
      const head = new DataView(new ArrayBuffer(12));
      head.setUint32(0, json.length, true);
      head.setFloat64(4, length, true);
      for (const part of [new Uint8Array(head.buffer), json, bytes]) if (part.length) writeSync(3, part);
    };
    send({ type: "ready" });\n`;
  const stay = `setInterval(() => {}, 1000);`;
  it.each<[string, string, RegExp, object?]>([
    [
      "a native crash",
      `process.kill(process.pid, "SIGSEGV"); ${stay}`,
      /must be a file that can be read, got one on which the reader's process ended with SIGSEGV/,
    ],
    ["an abort", `process.abort();`, /ended with SIGABRT/],
    ["an exit", `process.exit(7);`, /ended with exit code 7/],
    ["out of its heap", `const all = []; for (;;) all.push(new Array(1e6).fill(0.5));`, /must be read within 1024 MiB of memory/],
    [
      "a frame of another size than its bytes",
      `send({ type: "frame", width: 9, height: 9 }, new Uint8Array(9)); ${stay}`,
      /answered with a frame of 9×9 in 9 bytes/,
    ],
    [
      "a frame beyond the limit",
      `send({ type: "frame", width: 1e6, height: 1e6 }, new Uint8Array(), 4e12); ${stay}`,
      /answered with \d+ and 4000000000000 bytes at once/,
    ],
    ["a negative size", `send({ type: "frame", width: -1, height: -1 }, new Uint8Array(4)); ${stay}`, /answered with a frame of -1×-1/],
    ["frames without end", `for (;;) send({ type: "frame", width: 1, height: 1 }, new Uint8Array(4));`, /answered with more than 3 frames/],
    ["no JSON", `send("{"); ${stay}`, /answered with no JSON/],
    ["null", `send("null"); ${stay}`, /a message that it does not know/],
    [
      "a library's words on a terminal",
      `console.error("boo"); send({ type: "error", rule: "x\\u001b[31m must be whole, got\\nlines; mend it" }); ${stay}`,
      /^\[video\] x\\x1b\[31m must be whole, got\\nlines; mend it$/,
    ],
    ["no answers, while it stays", `closeSync(3); ${stay}`, /answered with an end while it went on/],
    [
      "a frame that no memory holds",
      `send({ type: "frame", width: 1, height: 1 }, new Uint8Array(), 2 ** 45); ${stay}`,
      /answered with 35184372088832 bytes, for which there is no memory/,
      { pixels: Infinity },
    ],
    ["silence", stay, /must be read ahead at least every 0\.1 s, got a file on which the reader made no progress/, { seconds: 0.1 }],
    ["warnings without end", `for (;;) send({ type: "warning", text: "x" });`, /answered with more than 10000 warnings/],
  ])("%s", async (_, body, words, limits = {}) => {
    await mkdir(at("readers"), { recursive: true });
    const reader = at(`readers/${Math.random().toString(36).slice(2)}.mjs`);
    await writeFile(reader, PRELUDE + body);
    const infinite = "pixels" in limits ? "limits: { pixels: Infinity }" : "limits: args[2]";
    const { out, err, code } = await startBare(
      "console.log(await cogwheel.decodeVideo(args[0], { reader: args[1], maxFrames: " +
        `3, ${infinite} }).catch((error) => error.constructor === cogwheel.CogwheelError ? error.message : error.stack));`,
      [at("one.png"), reader, limits],
    ).ended;
    expect(out.replace(/\n$/, "")).toMatch(words);
    expect([err, code]).toEqual(["", 0]);
  });
});

describe("a program that cannot start", () => {
  const refused = async (options: object, source: string | Uint8Array | ArrayBuffer = at("one.png")): Promise<string> => {
    try {
      await decodeVideo(source, options);
      return "read";
    } catch (error) {
      expect(error).toBeInstanceOf(CogwheelError);
      return (error as Error).message;
    }
  };

  it("is told as what it is, and not as a damaged file", async () => {
    await writeFile(at("broken.mjs"), `import "./nothing.mjs";`);
    expect(await refused({ reader: at("broken.mjs") })).toMatch(
      /^\[video\] media are read by a program of their own, \S+broken\.mjs, which must start, got its end with exit code 1 before it began; install the package anew/,
    );
    expect(await refused({ reader: at("absent.mjs") })).toMatch(
      /^\[video\] the option reader must name the file dist\/cogwheel-media\.js of this package, got \S+absent\.mjs, which is no file; /,
    );
    expect(await refused({ reader: new URL("https://example.org/media.js") })).toMatch(
      /^\[video\] the option reader must name the file .*, got https:\/\/example\.org\/media\.js, which is no file; /,
    );
  });

  it("nor without its watch", async () => {
    const alone = at("alone");
    await cp(join(ROOT, "dist"), alone, {
      recursive: true,
      filter: (path) => /dist$|chunks|\/cogwheel-media\.js$/.test(path) && !path.endsWith(".map"),
    });
    await symlink(join(ROOT, "node_modules"), at("node_modules"));
    await writeFile(at("package.json"), `{ "type": "module" }`);
    expect(await refused({ reader: join(alone, "cogwheel-media.js") })).toMatch(
      /which must start, got its end with exit code 1 before it began/,
    );
    await copyFile(join(ROOT, "dist/cogwheel-media-watch.js"), join(alone, "cogwheel-media-watch.js"));
    expect(await refused({ reader: join(alone, "cogwheel-media.js") })).toBe("read");
  });

  it("is named by the package, which a bundle without it asks for", async () => {
    expect(
      await startBare(`process.chdir(args[0]); console.log(import.meta.resolve("cogwheel-webgpu/media"));`, [ROOT]).ended,
    ).toMatchObject({
      code: 0,
    });
    const { build } = await import("esbuild");
    await build({
      stdin: {
        contents:
          `import { decodeVideo } from "cogwheel-webgpu"; decodeVideo(process.argv[2], { reader: ` +
          "process.argv[3] }).then(({ frames }) => console.log(frames.length), (error) => console.log(error.message));",
        resolveDir: ROOT,
      },
      outfile: at("bundled/app.cjs"),
      bundle: true,
      format: "cjs",
      platform: "node",
      external: ["webgpu", "@napi-rs/*"],
      logLevel: "error",
      absWorkingDir: ROOT,
    });
    await writeFile(at("bundled/media.js"), `console.log("the app's own")`);
    const run = (...args: string[]): string =>
      execFileSync(process.execPath, [at("bundled/app.cjs"), at("one.png"), ...args], { encoding: "utf8" });
    expect(run()).toMatch(
      /^\[video\] media are read by a program of their own, dist\/cogwheel-media\.js of this package, which must lie beside the package's other files, got none; name it with the option reader/,
    );
    expect(run(join(ROOT, "dist/cogwheel-media.js"))).toBe("1\n");
  });

  it("and what is no file at all is refused by its type", async () => {
    const bytes = await encodeVideo(film({ count: 2 }), { format: "gif", fps: 8 });
    expect((await decodeVideo(bytes.slice().buffer)).frames).toHaveLength(2);
    expect(await refused({}, [1, 2] as unknown as Uint8Array)).toBe(
      "[video] a video must be given as a path, a Uint8Array or an ArrayBuffer, got Array; give its bytes",
    );
  });
});
