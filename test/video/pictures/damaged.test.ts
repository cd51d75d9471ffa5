/** Pictures that are cut, damaged or of a rarer kind, and pictures that ask for more than they hold. */
import { readFileSync } from "node:fs";
import { deflateSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { BOMBS } from "../../fuzz/bombs.ts";
import { header, join, png, pngChunk, u16, u32 } from "../../fuzz/bomb-pictures.ts";
import { inflate } from "../../../src/video/read/inflate.ts";
import { random } from "../../support/mutate.ts";
import { bytesOf, readAll, type Drawn } from "./drawn.ts";

const drawn = JSON.parse(readFileSync(new URL("pictures.json", import.meta.url), "utf8")) as Drawn[];
const one = (name: string): Uint8Array => bytesOf(drawn.find((picture) => picture.name === name)!);
const several = (kind: string): Drawn => drawn.find(({ name, frames }) => name.startsWith(kind) && frames.length > 2)!;
/** Red of every pixel. */
const reds = (data: ArrayLike<number>): number[] => Array.from({ length: data.length / 4 }, (_, pixel) => data[4 * pixel]!);
const grey = (...values: number[]): Uint8Array => deflateSync(Uint8Array.from([0, ...values]));

describe("PNG", () => {
  const whole = png(header(3, 1, 8, 0), pngChunk("IDAT", grey(10, 20, 30)));
  const spoilt = (type: string): Uint8Array => {
    const out = Uint8Array.from(whole);
    out[Buffer.from(out).indexOf(type, 0, "latin1") + 5]! ^= 1;
    return out;
  };

  it("is refused with a wrong check sum in a chunk that it needs, and read without a chunk that it does not need", async () => {
    await expect(readAll(spoilt("IDAT"))).rejects.toThrow(/must be a whole PNG, got the check sum of its chunk IDAT at byte 33 is wrong; /);
    await expect(readAll(spoilt("IHDR"))).rejects.toThrow(/check sum of its chunk IHDR/);
    const text = pngChunk("tEXt", join("a\0b"));
    text[text.length - 1]! ^= 1;
    const { frames, warnings } = await readAll(png(header(3, 1, 8, 0), text, pngChunk("IDAT", grey(10, 20, 30))));
    expect([reds(frames[0]!.data), warnings]).toEqual([[10, 20, 30], []]);
  });

  it("is refused when it is cut, at every byte up to the last of its pixels", async () => {
    const pixels = whole.length - 12;
    for (let length = 8; length < pixels; length++)
      await expect(readAll(whole.subarray(0, length)), `${length} bytes`).rejects.toThrow(
        /^\[video\] a file must be a whole PNG, got .+; copy or download it again$/,
      );
    expect(reds((await readAll(whole.subarray(0, pixels))).frames[0]!.data)).toEqual([10, 20, 30]);
  });

  it("is inflated no further than its size", async () => {
    const { frames } = await readAll(
      png(header(3, 1, 8, 0), pngChunk("IDAT", deflateSync(Uint8Array.from([0, 10, 20, 30, ...new Uint8Array(1000)])))),
    );
    expect(reds(frames[0]!.data)).toEqual([10, 20, 30]);
    // Of 64 MiB one step is inflated, at deflate's largest ratio.
    let inflated = 0;
    inflate(
      [deflateSync(new Uint8Array(2 ** 26))],
      (part) => ((inflated += part.length), false),
      () => {},
    );
    expect(inflated).toBeLessThanOrEqual(16384 * 1032);
    let steps = 0;
    await readAll(png(header(16, 16), pngChunk("IDAT", deflateSync(new Uint8Array(2 ** 26)))), { progress: () => steps++ });
    expect(steps).toBeLessThan(5);
  });

  it("in Apple's own variant is named", async () => {
    await expect(readAll(join("\x89PNG\r\n\x1a\n", pngChunk("CgBI", [0, 0, 0, 0]), header(1, 1)))).rejects.toThrow(
      /Apple's own variant.*pngcrush/,
    );
  });

  const control = (sequence: number, dispose: number, over: number, x = 0, width = 3): Uint8Array =>
    pngChunk("fcTL", [...u32(sequence), ...u32(width), ...u32(1), ...u32(x), ...u32(0), ...u16(1), ...u16(4), dispose, over]);
  const moving = (...frames: Uint8Array[]): Uint8Array =>
    png(header(3, 1, 8, 0), pngChunk("acTL", [...u32(3), ...u32(0)]), control(0, 0, 0), pngChunk("IDAT", grey(1, 2, 3)), ...frames);

  it("that moves goes back to what was there before a frame", async () => {
    const { frames, warnings } = await readAll(
      moving(
        control(1, 2, 0, 1, 1),
        pngChunk("fdAT", join(u32(2), grey(50))),
        control(3, 0, 0, 2, 1),
        pngChunk("fdAT", join(u32(4), grey(60))),
      ),
    );
    expect(frames.map(({ data, seconds, duration }) => [reds(data), seconds, duration])).toEqual([
      [[1, 2, 3], 0, 0.25],
      [[1, 50, 3], 0.25, 0.25],
      [[1, 2, 60], 0.5, 0.25],
    ]);
    expect(warnings).toEqual([]);
  });

  it("that moves has its whole frames read when it is cut, with a warning", async () => {
    const bytes = moving(
      control(1, 0, 0),
      pngChunk("fdAT", join(u32(2), grey(4, 5, 6))),
      control(3, 0, 0),
      pngChunk("fdAT", join(u32(4), grey(7, 8, 9))),
    );
    const { frames, warnings } = await readAll(bytes.subarray(0, bytes.length - 20));
    expect(frames.map(({ data }) => reds(data))).toEqual([
      [1, 2, 3],
      [4, 5, 6],
    ]);
    expect(warnings).toEqual([
      expect.stringMatching(/cut short or damaged: it ends in the middle of a chunk \(fdAT\); only its whole frames were read/),
    ]);
    const spoilt = Uint8Array.from(bytes);
    spoilt[Buffer.from(bytes).indexOf("acTL") + 5]! ^= 1;
    const still = await readAll(spoilt);
    expect(still.frames).toHaveLength(1);
    expect(still.warnings).toEqual([expect.stringMatching(/no whole animation in it; its still picture was read/)]);
  });

  it("has its first frame taken where one is asked for", async () => {
    const { frames } = await readAll(bytesOf(several("apng")), { maxFrames: 1 });
    expect(frames).toHaveLength(1);
  });
});

describe("GIF", () => {
  const { file, frames: all } = several("gif");
  const bytes = new Uint8Array(Buffer.from(file, "base64"));

  it("has its whole frames read when it is cut, with a warning, and is refused without any", async () => {
    let [refused, read] = [0, 0];
    for (let length = 6; length < bytes.length; length += 3) {
      try {
        const { frames, warnings } = await readAll(bytes.subarray(0, length));
        expect(frames.length).toBeLessThanOrEqual(all.length);
        expect(warnings.join(" "), `${length} bytes`).toMatch(/is cut short or damaged: .*(frame was|frames were) read/);
        read++;
      } catch (error) {
        expect((error as Error).message).toMatch(/^\[video\] a file must be a whole GIF, got /);
        refused++;
      }
    }
    expect([refused > 0, read > 0]).toEqual([true, true]);
  });

  it("is told to go on after its end", async () => {
    const { frames, warnings } = await readAll(join(bytes, bytes.subarray(20)));
    expect(frames).toHaveLength(all.length);
    expect(warnings).toEqual([expect.stringMatching(/goes on after its end: \d+ bytes were ignored/)]);
  });

  it("is read up to the frames that are asked for", async () => {
    const { frames, warnings } = await readAll(bytes.subarray(0, bytes.length - 1), { maxFrames: 2 });
    expect([frames.length, warnings]).toEqual([2, []]);
  });
});

describe("JPEG", () => {
  const whole = one("jpeg-440");
  /** The place of a marker's segment, and the picture with other bytes there. */
  const patched = (marker: number, at: number, ...values: number[]): Uint8Array => {
    const out = Uint8Array.from(whole);
    out.set(values, Buffer.from(out).indexOf(Buffer.from([0xff, marker])) + at);
    return out;
  };

  it.each<[string, Uint8Array, RegExp]>([
    [
      "arithmetic",
      patched(0xc0, 1, 0xc9),
      /must be a JPEG of the usual kind .*, got one with arithmetic coding; convert it to an RGB JPEG/,
    ],
    ["lossless", patched(0xc0, 1, 0xc3), /got one with lossless coding/],
    ["12 bits", patched(0xc0, 4, 12), /must be a JPEG of 8 bits, got one of 12; convert/],
    ["CMYK", patched(0xc0, 9, 4), /got one in CMYK .*magick/],
    ["no height", patched(0xc0, 5, 0, 0), /at least 1×1 pixels, got 29×0/],
    ["too large", patched(0xc0, 5, 255, 255, 255, 255), /at most 67,108,864 pixels a frame, got 65535×65535/],
    ["cut", whole.subarray(0, whole.length - 2), /must be a whole JPEG, got one that ends before its end marker \(EOI\)/],
    ["cut in a segment", whole.subarray(0, 30), /got one that ends in the middle of a segment/],
    ["without a picture", join([0xff, 0xd8, 0xff, 0xd9]), /got no frame header/],
  ])("%s is refused by name", async (_, bytes, message) => {
    await expect(readAll(bytes)).rejects.toThrow(message);
  });

  it("in a million scans is refused before it is decoded", async () => {
    await expect(readAll(BOMBS["progressive jpeg of 8000×8000 in 1,000,000 scans"]!(Math.random))).rejects.toThrow(
      /must have at most 33 scans at 8000×8000, got 1000001/,
    );
  });

  it("that is damaged inside is read with a warning", async () => {
    const bytes = join(whole.subarray(0, whole.length - 2), [1, 2, 3, 4, 0xff, 0xd9]);
    const { frames, warnings } = await readAll(bytes);
    expect([frames[0]!.width, frames[0]!.height]).toEqual([29, 19]);
    expect(warnings).toEqual([expect.stringMatching(/is damaged \(Corrupt JPEG data: .*\); parts of the picture may be wrong/)]);
  });

  it("with a film behind it (a motion photo) is the picture", async () => {
    const { frames, warnings } = await readAll(join(whole, [0, 0, 0, 24], "ftypmp42", new Uint8Array(200)));
    expect(frames.map(({ data }) => data)).toEqual((await readAll(whole)).frames.map(({ data }) => data));
    expect(warnings).toEqual([]);
  });

  it("has EXIF that is not its first segment heeded, and a preview inside it not mistaken for the picture", async () => {
    const exif = [...Buffer.from("Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0", "latin1"), ...whole];
    const turned = join(whole.subarray(0, 2), [0xff, 0xfe, 0, 5, 1, 2, 3], [0xff, 0xe1, ...u16(exif.length + 2)], exif, whole.subarray(2));
    const { frames } = await readAll(turned);
    expect([frames[0]!.width, frames[0]!.height]).toEqual([19, 29]);
  });

  /** An ICC profile of version 2 with primaries and a name. */
  const profile = (name: string, primaries: number[][]): Uint8Array => {
    const tags = [
      ...primaries.map(
        (values, index) => [`${"rgb"[index]}XYZ`, join("XYZ ", u32(0), ...values.map((value) => u32((value * 65536) >>> 0)))] as const,
      ),
      ["desc", join("desc", u32(0), u32(name.length + 1), `${name}\0`)] as const,
    ];
    let at = 132 + 12 * tags.length;
    const table = tags.map(([tag, data]) => join(tag, u32(at), u32((at += data.length) && data.length)));
    return join(new Uint8Array(128), u32(tags.length), ...table, ...tags.map(([, data]) => data));
  };
  const P3 = profile("Display P3", [
    [0.5151, 0.2412, -0.0011],
    [0.292, 0.6922, 0.0419],
    [0.1571, 0.0666, 0.7841],
  ]);
  const SRGB = profile("sRGB", [
    [0.4361, 0.2225, 0.0139],
    [0.3851, 0.7169, 0.0971],
    [0.1431, 0.0606, 0.7141],
  ]);

  it("in another space than sRGB is told of, and so is a PNG", async () => {
    const withProfile = (icc: Uint8Array): Uint8Array =>
      join(whole.subarray(0, 2), [0xff, 0xe2, ...u16(icc.length + 16)], "ICC_PROFILE\0\x01\x01", icc, whole.subarray(2));
    const pngWith = (icc: Uint8Array): Uint8Array =>
      png(header(1, 1, 8, 0), pngChunk("iCCP", join("x\0\0", deflateSync(icc))), pngChunk("IDAT", grey(9)));
    for (const make of [withProfile, pngWith]) {
      expect((await readAll(make(SRGB))).warnings).toEqual([]);
      expect((await readAll(make(P3))).warnings).toEqual([
        expect.stringMatching(/colours of another space than sRGB \(Display P3\); its values were taken as they are/),
      ]);
    }
  });
});

describe("WebP", () => {
  it("is refused when it is cut, and a moving one has its whole frames read, with a warning", async () => {
    const still = one("webp-1");
    for (const length of [12, 25, still.length >> 1, still.length - 3])
      await expect(readAll(still.subarray(0, length)), `${length} of ${still.length} bytes`).rejects.toThrow(
        /^\[video\] a file must be a whole WebP, got /,
      );
    const moving = several("moving-webp");
    const { frames, warnings } = await readAll(bytesOf(moving).subarray(0, -6));
    expect(frames).toHaveLength(moving.frames.length - 1);
    expect(warnings).toEqual([expect.stringMatching(/is cut short: its \d+ whole frames? (was|were) read/)]);
  });
});

describe("what a file asks for is bounded before anything is decoded", () => {
  it.each([
    ["gif of 20000×20000, 3 frames", /at most 67,108,864 pixels a frame, got 20000×20000/],
    ["gif of a pixel with frames of 65535×65535", /pixels a frame, got 65535×65535/],
    [
      "gif of 200 frames of 4000×4000",
      /at most 2,048 MiB when it is decoded, got 200 frames of 4000×4000, which are 12,208; read fewer of them \(--frames, or maxFrames/,
    ],
    ["apng of 200 frames of 4000×4000", /at most 2,048 MiB when it is decoded, got 200 frames/],
    ["moving webp of 200 frames of 4000×4000", /at most 2,048 MiB when it is decoded, got 200 frames/],
    ["png of 2³¹ × 2³¹", /pixels a frame, got 2147483647×2147483647/],
    ["lossless webp of 16384×16384", /pixels a frame, got 16384×16384/],
    ["webp with a canvas of 2²⁴ × 2²⁴", /pixels a frame, got 16777216×16777216/],
  ] as const)("%s", async (name, message) => {
    const from = performance.now();
    await expect(readAll(BOMBS[name]!(random(1)))).rejects.toThrow(message);
    expect(performance.now() - from).toBeLessThan(2000);
  });

  it("by what is wanted of it: few frames of a long one are read", async () => {
    const { frames } = await readAll(BOMBS["gif of 200 frames of 4000×4000"]!(random(1)), { maxFrames: 1 });
    expect([frames.length, frames[0]!.width]).toEqual([1, 4000]);
  });
});
