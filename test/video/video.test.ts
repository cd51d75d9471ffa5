import { existsSync } from "node:fs";
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { decodeVideo } from "../../src/video/decode.ts";
import { checkOutput, encodeVideo, formatOf } from "../../src/video/encode.ts";
import type { Frame } from "../../src/video/frame.ts";
import { film, psnr } from "../support/film.ts";

let folder: string;
beforeAll(async () => void (folder = await mkdtemp(join(tmpdir(), "cogwheel-video-"))));
afterAll(async () => rm(folder, { recursive: true, force: true }));

describe("a video goes out and comes back", () => {
  it.each([
    ["small.mp4", {}, 35],
    ["wide.mp4", { width: 208, height: 112, count: 9 }, 38],
    ["hd.mp4", { width: 1280, height: 32, count: 2 }, 38], // which is BT.709
    ["small.webm", {}, 35],
    ["small.gif", {}, 33],
    ["odd.gif", { width: 33, height: 17, count: 3 }, 33],
    ["frames", { count: 3 }, 99],
    ["picture.png", { count: 1 }, 99],
    ["one.mp4", { count: 1 }, 35],
    ["rgb.mp4", { channels: 3, count: 5 }, 35],
    ["rgb.png", { channels: 3, count: 1 }, 99],
  ])("%s", async (name, size, least) => {
    const frames = film(size);
    const progress: number[] = [];
    const path = await encodeVideo(frames, { path: join(folder, name), fps: 8, onProgress: (done) => progress.push(done) });
    expect(progress).toEqual(frames.map((_, index) => index + 1));
    const back = await decodeVideo(path);
    expect(back.frames.length).toBe(frames.length);
    expect([back.width, back.height]).toEqual([frames[0]!.width, frames[0]!.height]);
    const worst = Math.min(...frames.map((frame, index) => psnr(frame, back.frames[index]!)));
    expect(worst, "dB, worst frame").toBeGreaterThan(least);
    if (/mp4|webm|gif/.test(name) && frames.length > 1) expect(back.fps).toBeCloseTo(8, 0);
    const sum = (data: ArrayLike<number>, channels: number, channel: number): number =>
      Array.from({ length: data.length / channels }, (_, pixel) => data[pixel * channels + channel]!).reduce((a, b) => a + b, 0);
    const channels = frames[0]!.data.length / (frames[0]!.width * frames[0]!.height);
    for (let channel = 0; channel < 3; channel++) {
      const pixels = frames[0]!.width * frames[0]!.height;
      expect(
        Math.abs(sum(back.frames[0]!.data, 4, channel) - sum(frames[0]!.data, channels, channel)) / pixels,
        "a colour cast",
      ).toBeLessThan(2);
    }
  });

  it("writes MP4 whose colours every player will understand", async () => {
    const bytes = await encodeVideo(film(), { format: "mp4", fps: 8 });
    const text = Buffer.from(bytes).toString("latin1");
    expect(text.slice(4, 8)).toBe("ftyp");
    expect(text.indexOf("moov")).toBeLessThan(text.indexOf("mdat")); // starts before it is loaded whole
    const colr = bytes.subarray(text.indexOf("colrnclx") + 8);
    expect([...colr.subarray(0, 7)]).toEqual([0, 6, 0, 6, 0, 6, 0]); // smpte170m three times, not full range
  });

  it("takes an async iterable, and as few frames back as are asked for", async () => {
    async function* stream(): AsyncGenerator<Frame> {
      yield* film({ count: 4 });
    }
    const bytes = await encodeVideo(stream(), { format: "webm", fps: 4 });
    expect((await decodeVideo(bytes, { maxFrames: 2 })).frames.length).toBe(2);
    expect((await decodeVideo(await encodeVideo(stream(), { format: "gif", fps: 8 }), { maxFrames: 3 })).frames.length).toBe(3);
  });

  it("replaces a file, and a folder of frames as a whole", async () => {
    const path = join(folder, "again.gif");
    await encodeVideo(film({ count: 2 }), { path, fps: 8 });
    await encodeVideo(film({ count: 4 }), { path, fps: 8 });
    expect((await decodeVideo(path)).frames.length).toBe(4);
    const frames = join(folder, "again/");
    await encodeVideo(film({ count: 4 }), { path: frames, fps: 8 });
    await encodeVideo(film({ count: 2 }), { path: frames, fps: 8 });
    expect(await readdir(frames)).toEqual(["frame-0001.png", "frame-0002.png"]);
  });
});

describe("what cannot be written is known before", () => {
  it("tells the format from the path", () => {
    expect(["a.mp4", "b.x/c.WEBM", "d.gif", "e.png", "f", "g/", "h.v2/", "./i", "..", "./"].map(formatOf)).toEqual([
      "mp4",
      "webm",
      "gif",
      "png",
      "folder",
      "folder",
      "folder",
      "folder",
      "folder",
      "folder",
    ]);
    expect(() => formatOf("film.avi")).toThrow(/^\[output\] the output must end in .mp4.*got "film.avi"; .*slash/);
    expect(() => formatOf("")).toThrow("[output]");
  });

  it("leaves nothing behind when all is well", async () => {
    expect(await checkOutput(join(folder, "new/deep/out.mp4"))).toBe("mp4");
    expect(existsSync(join(folder, "new"))).toBe(false);
  });

  it.each<[string, string, RegExp, ((path: string) => Promise<unknown>)?]>([
    ["a folder in the place of a file", "taken.mp4", /must be a file or not exist yet, got a folder/, (path) => mkdir(path)],
    [
      "a device in the place of a folder",
      "null/out.mp4",
      /must be in a folder, got \S+null, which is a device or a pipe; choose/,
      (path) => symlink("/dev/null", join(path, "..")),
    ],
    ["a file in the place of a folder", "file/out.mp4", /must be in a folder, got the file/, (path) => writeFile(join(path, ".."), "")],
    ["someone's folder", "pictures", /got holiday.jpg/, async (path) => (await mkdir(path), writeFile(join(path, "holiday.jpg"), ""))],
    ["a device", "device.mp4", /got a device or pipe/, (path) => symlink("/dev/null", path)],
  ])("%s", async (_, name, message, prepare) => {
    const path = join(folder, name);
    await prepare?.(path);
    await expect(checkOutput(path)).rejects.toThrow(message);
    await expect(checkOutput(path)).rejects.toThrow(/^\[output\] .*; .*--out/);
    await expect(encodeVideo(film({ count: 1 }), { path, fps: 8 })).rejects.toThrow(message);
  });

  it.skipIf(process.platform === "win32")("a folder without permission", async () => {
    const locked = process.getuid?.() === 0 ? "/proc" : join(folder, "locked"); // root may write anywhere but there
    if (locked !== "/proc") await mkdir(locked, { mode: 0o500 });
    await expect(checkOutput(join(locked, "out.mp4"))).rejects.toThrow(/^\[output\] .* must be a place that can be written, got/);
    await expect(checkOutput(join(locked, "new/out/"))).rejects.toThrow("[output]");
    if (locked !== "/proc") await chmod(locked, 0o700);
  });

  it("a picture of several frames", async () => {
    await expect(checkOutput(join(folder, "p.png"), { frames: 17 })).rejects.toThrow(/holds one picture, got 17 frames/);
    expect(await checkOutput(join(folder, "p.png"), { frames: 1 })).toBe("png");
    await expect(encodeVideo(film({ count: 2 }), { path: join(folder, "p.png"), fps: 8 })).rejects.toThrow("one frame");
    expect(existsSync(join(folder, "p.png"))).toBe(false);
  });
});

describe("what goes wrong leaves nothing behind", () => {
  it.each(["stop.mp4", "stop.webm", "stop.gif", "stop.png", "stop/", "made/for/it/stop.mp4"])("an abort while writing %s", async (name) => {
    const before = await readdir(folder);
    const controller = new AbortController();
    async function* endless(): AsyncGenerator<Frame> {
      const frames = film();
      for (let index = 0; ; index++) {
        if (index === (name.endsWith("png") ? 1 : 5)) controller.abort(new Error("enough"));
        yield frames[index % 17]!;
      }
    }
    await expect(encodeVideo(endless(), { path: join(folder, name), fps: 8, signal: controller.signal })).rejects.toThrow("enough");
    expect(await readdir(folder)).toEqual(before);
  });

  it("a failure keeps what was there", async () => {
    const path = join(folder, "kept.mp4");
    await writeFile(path, "kept");
    const [first, second] = [film({ count: 1 })[0]!, film({ count: 1, width: 80 })[0]!];
    await expect(encodeVideo([first, second], { path, fps: 8 })).rejects.toThrow(
      "[video] all frames must have one size, got 64×64 and then 80×64",
    );
    await expect(encodeVideo([], { path, fps: 8 })).rejects.toThrow("[video] a video must have at least one frame");
    await expect(encodeVideo(film({ width: 65 }), { path, fps: 8 })).rejects.toThrow(
      "[video] width and height must be even for mp4, got 65×64",
    );
    await expect(encodeVideo(film(), { path, fps: 0 })).rejects.toThrow("[video] fps must be a positive number, got 0");
    await expect(encodeVideo(film(), { format: "avi" as "mp4", fps: 8 })).rejects.toMatchObject({
      code: "invalid-request",
      message: '[video] format must be mp4, webm, gif or png, got "avi"',
    });
    await expect(encodeVideo([{ width: 4, height: 4, data: new Uint8Array(5) }], { path, fps: 8 })).rejects.toThrow(
      "must have 48 bytes of RGB or 64 of RGBA, got 5",
    );
    expect(await readFile(path, "utf8")).toBe("kept");
    expect((await readdir(folder)).filter((name) => name.endsWith(".part"))).toEqual([]);
  });

  it.each([
    [1, [255, 255, 0, 0, 255, 0, 0, 0, 255]],
    [2, [255, 0, 85, 170, 255, 255, 255, 0, 85]],
    [4, [255, 0, 17, 34, 204, 51, 68, 85, 255]],
  ])("grey PNG of %i bits, as masks are often kept, 9 pixels wide", async (depth, want) => {
    const { deflateSync } = await import("node:zlib");
    const most = 2 ** depth - 1;
    const row = new Uint8Array(1 + Math.ceil((9 * depth) / 8)); // no filter
    want.forEach((v, x) => {
      row[1 + ((x * depth) >> 3)]! |= ((v * most) / 255) << (8 - depth - ((x * depth) & 7));
    });
    const table = Uint32Array.from({ length: 256 }, (_, n) => {
      for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
      return n;
    });
    const chunk = (type: string, data: Uint8Array): Buffer => {
      const body = Buffer.concat([Buffer.from(type), data]);
      const [length, crc] = [Buffer.alloc(4), Buffer.alloc(4)];
      length.writeUInt32BE(data.length);
      crc.writeUInt32BE((body.reduce((c, byte) => table[(c ^ byte) & 255]! ^ (c >>> 8), 0xffffffff) ^ 0xffffffff) >>> 0);
      return Buffer.concat([length, body, crc]);
    };
    const file = Buffer.concat([
      Buffer.from([0x89, 0x50, 0x4e, 0x47, 13, 10, 26, 10]),
      chunk("IHDR", Uint8Array.of(0, 0, 0, 9, 0, 0, 0, 2, depth, 0, 0, 0, 0)),
      chunk("IDAT", deflateSync(Buffer.concat([row, row]))),
      chunk("IEND", new Uint8Array()),
    ]);
    const {
      frames: [frame],
    } = await decodeVideo(new Uint8Array(file));
    expect(Array.from({ length: 18 }, (_, i) => frame!.data[4 * i])).toEqual([...want, ...want]);
  });

  it("bytes that are no video are refused", async () => {
    await expect(decodeVideo(join(folder, "none.mp4"))).rejects.toThrow(/^\[video\] .*none.mp4 must be a file that can be read/);
    await expect(decodeVideo(new TextEncoder().encode("not a video at all"))).rejects.toThrow(
      '[video] the video must be a film or a picture that can be read here, got text ("not a video at all"); give MP4',
    );
    const mp4 = await encodeVideo(film({ count: 3 }), { format: "mp4", fps: 8 });
    await expect(decodeVideo(mp4.subarray(0, 300))).rejects.toThrow("[video]");
    const png = await encodeVideo(film({ count: 1 }), { format: "png", fps: 8 });
    await expect(decodeVideo(png.subarray(0, 100))).rejects.toThrow(/^\[video\] .* whole PNG/);
    const gif = await encodeVideo(film({ count: 1 }), { format: "gif", fps: 8 });
    await expect(decodeVideo(gif.subarray(0, 12))).rejects.toThrow(/^\[video\] .* whole GIF/);
  });
});
