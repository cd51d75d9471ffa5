/**
 * Small films of every kind that once went wrong, against what ffmpeg shows of them (fixtures/films/films.json;
 * `npm run films -- --fixtures` writes them again, `npm run films` draws some 400 and compares every pixel).
 */
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { readFile, writeFile, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  BufferSource,
  BufferTarget,
  type EncodedPacket,
  EncodedPacketSink,
  EncodedVideoPacketSource,
  Input,
  MP4,
  Mp4OutputFormat,
  Output,
} from "mediabunny";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { encodeVideo } from "../../src/video/encode.ts";
import { readFilm } from "../../src/video/read/film.ts";
import { DEFAULT_LIMITS } from "../../src/video/read/limits.ts";
import type { ReadFrame } from "../../src/video/read/reader.ts";

interface Expected {
  name: string;
  file: string;
  refused?: string;
  warned?: string;
  width: number;
  height: number;
  frames: number;
  /** Frames that are compared, and means of their blocks of 8 × 8 pixels. */
  at: number[];
  means: string[];
  /** SHA-256 of all frames as RGB, where every byte is ffmpeg's. */
  equal?: string;
}

const folder = join(import.meta.dirname, "fixtures/films");
const films = JSON.parse(await readFile(join(folder, "films.json"), "utf8")) as Expected[];

async function read(
  bytes: Uint8Array,
  options: { maxFrames?: number } = {},
): Promise<{ frames: ReadFrame[]; warnings: string[]; progress: number }> {
  const frames: ReadFrame[] = [];
  const warnings: string[] = [];
  let progress = 0;
  for await (const frame of readFilm(bytes, {
    name: "the film",
    maxFrames: Infinity,
    limits: DEFAULT_LIMITS,
    warn: (text) => warnings.push(text),
    progress: () => progress++,
    ...options,
  }))
    frames.push(frame);
  return { frames, warnings, progress };
}

function rgb({ width, height, data }: ReadFrame): Uint8Array {
  const out = new Uint8Array(3 * width * height);
  for (let pixel = 0; pixel < width * height; pixel++) for (let c = 0; c < 3; c++) out[3 * pixel + c] = data[4 * pixel + c]!;
  return out;
}

/** Means of whole blocks of 8 × 8 pixels. */
function means(frame: ReadFrame): number[] {
  const { width, data } = frame;
  const [columns, rows] = [Math.floor(width / 8), Math.floor(frame.height / 8)];
  const sums = new Array<number>(3 * columns * rows).fill(0);
  for (let y = 0; y < 8 * rows; y++)
    for (let x = 0; x < 8 * columns; x++)
      for (let c = 0; c < 3; c++) sums[3 * ((y >> 3) * columns + (x >> 3)) + c]! += data[4 * (y * width + x) + c]! / 64;
  return sums;
}

describe("films are read as ffmpeg shows them", () => {
  it.each(["wide", "free", "skip"])("a QuickTime file that begins with `%s`, and has no `ftyp`", async (first) => {
    const { file } = films.find(({ file, refused }) => file.endsWith(".mp4") && refused === undefined)!;
    const bytes = new Uint8Array(await readFile(join(folder, file)));
    const known = await read(bytes.slice());
    bytes.set(new TextEncoder().encode(first), 4);
    const { frames } = await read(bytes);
    expect(frames.length).toBeGreaterThan(0);
    expect(frames).toEqual(known.frames);
  });
  it.each(films.filter(({ refused }) => refused === undefined).map((film) => [film.name, film] as const))("%s", async (_, film) => {
    const { frames, warnings, progress } = await read(await readFile(join(folder, film.file)));
    expect(frames.map(({ width, height }) => `${width}×${height}`)).toEqual(new Array(film.frames).fill(`${film.width}×${film.height}`));
    expect(progress).toBeGreaterThanOrEqual(film.frames);
    for (const [i, index] of film.at.entries()) {
      const want = [...Buffer.from(film.means[i]!, "base64")];
      const worst = Math.max(...means(frames[index]!).map((mean, at) => Math.abs(mean - want[at]!)));
      expect(worst, `frame ${index}: the worst mean of a block`).toBeLessThan(1.6);
    }
    if (film.equal) {
      const hash = createHash("sha256");
      for (const frame of frames) hash.update(rgb(frame));
      expect(hash.digest("hex"), "SHA-256 of all frames").toBe(film.equal);
    }
    expect(warnings.length).toBe(film.warned ? 1 : 0);
    if (film.warned) expect(warnings[0]).toContain(film.warned);
    const seconds = frames.map((frame) => frame.seconds!);
    expect(seconds[0]).toBe(0);
    expect(
      seconds.every((second, i) => i === 0 || second > seconds[i - 1]!),
      `times go on: ${seconds.join(", ")}`,
    ).toBe(true);
  });

  it("keeps the times of a film of variable rate", async () => {
    const { frames } = await read(await readFile(join(folder, "rate-mkv-h264.mkv")));
    const steps = new Set(frames.slice(1).map(({ seconds }, i) => Math.round(100 * (seconds! - frames[i]!.seconds!))));
    expect(steps).toEqual(new Set([4, 8, 12]));
  });
});

describe("what is not read is refused by its name", () => {
  it.each(films.filter(({ refused }) => refused !== undefined).map((film) => [film.name, film] as const))("%s", async (_, film) => {
    const error = await read(await readFile(join(folder, film.file))).catch((caught: Error) => caught);
    expect(error).toMatchObject({ name: "CogwheelError", room: "video" });
    const { message } = error as Error;
    expect(message).toContain(film.refused);
    expect(message).toMatch(/^\[video\] the film must .*, got /);
    expect(message).not.toMatch(/unknown one|navigator/);
    if (film.name !== "refused/sound-only") expect(message).toMatch(/; convert it .*ffmpeg/);
  });
});

describe("indexes that make no sense of a film", () => {
  it("an edit list of more parts than an editor makes", async () => {
    const film = await readFile(join(folder, "edit-h264-from-0.7.mp4"));
    const at = film.indexOf("elst") - 4;
    const parts = 1001;
    const list = Buffer.alloc(16 + 12 * parts);
    list.writeUInt32BE(list.length, 0);
    list.write("elst", 4);
    list.writeUInt32BE(parts, 12);
    for (let i = 0; i < parts; i++) list.set(film.subarray(at + 16, at + 28), 16 + 12 * i);
    const grown = list.length - film.readUInt32BE(at);
    const whole = Buffer.concat([film.subarray(0, at), list, film.subarray(at + film.readUInt32BE(at))]);
    for (const name of ["moov", "trak", "edts"]) {
      const box = whole.indexOf(name) - 4;
      whole.writeUInt32BE(whole.readUInt32BE(box) + grown, box);
    }
    await expect(read(whole)).rejects.toThrow(/^\[video\] the film must have at most 1000 edits, got 1001; /);
  });

  it("a turn by less than a quarter", async () => {
    const film = Buffer.from(await readFile(join(folder, "turned-90-mp4.mp4")));
    const matrix = film.indexOf("tkhd") + 4 + 40;
    for (const [i, value] of [0.866, 0.5, 0, -0.5, 0.866].entries()) film.writeInt32BE(Math.round(65536 * value), matrix + 4 * i);
    await expect(read(film)).rejects.toThrow("[video] the film must be turned by quarters, got a matrix of 0.87, 0.50, -0.50, 0.87; ");
  });

  it("fragments that count by the billion end in words, or in the frames", async () => {
    const film = await readFile(join(folder, "mixed-anywhere.mp4"));
    for (let at = film.indexOf("trun"); at >= 0; at = film.indexOf("trun", at + 1)) {
      const damaged = Buffer.from(film);
      damaged.writeUInt32BE(0xffffffff, at + 8);
      const frames = await read(damaged).then(
        ({ frames }) => frames.length,
        (error: Error) => error.name,
      );
      expect(frames === "CogwheelError" || (Number(frames) >= 8 && Number(frames) <= 40), `got ${frames}`).toBe(true);
    }
  });

  it("headers that are damaged end in words, or in the frames", async () => {
    for (const file of [
      "edit-h264-part.mp4",
      "mixed-anywhere.mp4",
      "size-vp9-97x81.webm",
      "matrix-hevc-bt2020nc-10.mp4",
      "matrix-av1-smpte170m-8.mkv",
    ]) {
      const film = await readFile(join(folder, file));
      // Into the index of an MP4, which is at its end or followed by fragments, and into the head of a Matroska file; the media stay whole.
      const [from, to] = file.endsWith(".mp4") ? [film.indexOf("moov"), film.length] : [40, Math.min(film.length, 700)];
      for (let round = 0; round < 12; round++) {
        const damaged = Uint8Array.from(film);
        for (let k = 0; k < 3; k++) damaged[from + ((round * 7919 + k * 104729) % (to - from))]! ^= 1 << ((round + k) & 7);
        const error = await read(damaged, { maxFrames: 4 }).then(
          () => undefined,
          (caught: Error) => caught,
        );
        if (error) expect(error.name, `${file}, ${round}: ${error.stack}`).toBe("CogwheelError");
      }
    }
  });
});

describe("films that are cut off", () => {
  const clip = Array.from({ length: 50 }, (_, index) => ({
    width: 64,
    height: 64,
    data: Uint8Array.from({ length: 4 * 64 * 64 }, (__, at) => (at % 4 === 3 ? 255 : (((at >> 2) * 7919 + index * 104729) >>> 3) & 255)),
  }));

  it.each([
    ["mp4", /has (\d+) of the 50 frames that its index promises/],
    ["webm", /was cut off before its end: (\d+) frames were read/],
  ] as const)("%s: what is there, and how many are missing", async (format, said) => {
    const whole = await encodeVideo(clip, { format, fps: 25 });
    expect((await read(whole)).warnings).toEqual([]);
    for (const share of [0.35, 0.8]) {
      const { frames, warnings } = await read(whole.subarray(0, Math.floor(whole.length * share)));
      expect(frames.length).toBeGreaterThan(5);
      expect(frames.length).toBeLessThan(50);
      expect(warnings).toHaveLength(1);
      expect(Number(said.exec(warnings[0]!)?.[1])).toBe(frames.length);
    }
  });

  it("no warning where fewer frames were asked for", async () => {
    const whole = await encodeVideo(clip.slice(0, 9), { format: "mp4", fps: 25 });
    expect((await read(whole, { maxFrames: 3 })).warnings).toEqual([]);
  });
});

describe("a film that begins where pictures before its first key frame need what was cut off", () => {
  it.each([
    [21, 16],
    [33, 4],
  ])("HEVC from packet %i: %i frames, and no warning", async (from, count) => {
    const bytes = await readFile(join(folder, "edit-hevc-open-gop.mp4"));
    const cut = await remuxed(bytes, from);
    const { frames, warnings } = await read(cut);
    expect([frames.length, warnings]).toEqual([count, []]);
    // Those that are missing for another reason are told of, and counted without the three.
    const short = await read(cut.subarray(0, cut.length - 40));
    expect(short.frames.length).toBeLessThan(count);
    expect(short.warnings).toEqual([
      `the film has ${short.frames.length} of the ${count} frames that its index promises; the file was cut off or is damaged`,
    ]);
  });
});

/** The film's packets from one on, as they are, in a film of their own. */
async function remuxed(bytes: Uint8Array, from: number): Promise<Uint8Array> {
  using input = new Input({ source: new BufferSource(bytes), formats: [MP4] });
  const track = (await input.getPrimaryVideoTrack())!;
  const target = new BufferTarget();
  const output = new Output({ format: new Mp4OutputFormat({ fastStart: "in-memory" }), target });
  const source = new EncodedVideoPacketSource("hevc");
  output.addVideoTrack(source);
  await output.start();
  const packets: EncodedPacket[] = [];
  for await (const packet of new EncodedPacketSink(track).packets()) packets.push(packet);
  const begin = Math.min(...packets.slice(from).map(({ timestamp }) => timestamp));
  const decoderConfig = (await track.getDecoderConfig())!;
  for (const packet of packets.slice(from)) await source.add(packet.clone({ timestamp: packet.timestamp - begin }), { decoderConfig });
  await output.finalize();
  return new Uint8Array(target.buffer!);
}

describe("in a process of its own", () => {
  let temporary: string;
  beforeAll(async () => void (temporary = await mkdtemp(join(tmpdir(), "cogwheel-films-"))));
  afterAll(async () => rm(temporary, { recursive: true, force: true }));

  it("the reader holds the event loop until a film of 60 frames is read, with nothing else alive", async () => {
    const long = join(temporary, "long.mp4");
    const frame = { width: 176, height: 144, data: new Uint8Array(4 * 176 * 144).fill(90) };
    await writeFile(long, await encodeVideo(new Array(60).fill(frame), { format: "mp4", fps: 25 }));
    for (const file of [long, join(folder, "alpha-vp9-webm.webm"), join(folder, "turned-90-mp4.mp4")]) {
      const { code, stdout, stderr } = await new Promise<{ code: number | null; stdout: string; stderr: string }>((resolve) => {
        const child = spawn(process.execPath, [join(import.meta.dirname, "films/decode.mjs"), file], { stdio: ["ignore", "pipe", "pipe"] });
        const text = { stdout: "", stderr: "" };
        child.stdout.on("data", (part) => (text.stdout += part));
        child.stderr.on("data", (part) => (text.stderr += part));
        child.on("close", (status) => resolve({ code: status, ...text }));
      });
      expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
      expect(JSON.parse(stdout)).toMatchObject({ frames: file === long ? 60 : file.includes("alpha") ? 8 : 3, warnings: [] });
    }
  });
});
