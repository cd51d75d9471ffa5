import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { fitFrame, fitFrames, type Fit } from "../../src/video/fit.ts";
import type { Frame } from "../../src/video/frame.ts";

interface Case {
  seed: number;
  from: [number, number];
  to: [number, number];
  crop: string;
  stretch: string;
  pad: string | null;
  tensor: string;
}
const { cases } = JSON.parse(readFileSync(new URL("fixtures/resize.json", import.meta.url), "utf8")) as { cases: Case[] };

/** The picture that fixtures/resize.py makes for a seed, as RGB or, with an alpha that must not matter, RGBA. */
function picture({ from: [width, height], seed }: Case, channels: 3 | 4): Frame {
  const data = new Uint8Array(width * height * channels);
  for (let i = 0; i < width * height * 3; i++) {
    const hash = Math.imul(i + seed, 2654435761) >>> 0;
    const third = (hash >>> 16) % 6;
    data[Math.floor(i / 3) * channels + (i % 3)] = third === 0 ? 0 : third === 1 ? 255 : hash >>> 24;
  }
  if (channels === 4) for (let i = 3; i < data.length; i += 4) data[i] = (i * 7) & 255;
  return { width, height, data };
}

/** As fixtures/resize.py stores bytes. */
function digest(bytes: Uint8Array): string {
  return bytes.length <= 600 ? Buffer.from(bytes).toString("base64") : `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}

describe("every byte is Pillow's", () => {
  for (const one of cases) {
    const [width, height] = one.to;
    describe(`${one.from.join("×")} → ${width}×${height}`, () => {
      for (const fit of ["crop", "stretch", "pad"] as const) {
        const want = one[fit];
        if (want === null) continue; // Pillow gives an empty picture here; see below for what this engine gives
        it(fit, () => {
          for (const channels of [3, 4] as const) {
            const got = fitFrame(picture(one, channels), { width, height, fit });
            expect([got.width, got.height, got.data.length]).toEqual([width, height, 3 * width * height]);
            expect(digest(got.data as Uint8Array)).toBe(want);
          }
        });
      }
      it("stretch is diffusers' tensor, of two frames", () => {
        const frame = picture(one, 4);
        const got = fitFrames([frame, frame], { width, height, fit: "stretch" });
        expect(digest(new Uint8Array(got.buffer))).toBe(one.tensor);
      });
    });
  }
});

const plain = (width: number, height: number, value: number): Frame => ({
  width,
  height,
  data: new Uint8Array(3 * width * height).fill(value),
});

describe("fitFrames", () => {
  it("crops without being asked, and keeps frames apart", () => {
    const frames = [picture(cases[3]!, 3), plain(64, 48, 128)];
    const got = fitFrames(frames, { width: 64, height: 32 });
    const want = fitFrame(frames[0]!, { width: 64, height: 32, fit: "crop" }).data;
    for (let c = 0; c < 3; c++) {
      for (let i = 0; i < 64 * 32; i += 37) {
        expect(got[2 * c * 64 * 32 + i]).toBe(Math.fround(2 * Math.fround(want[3 * i + c]! / 255) - 1));
        expect(got[(2 * c + 1) * 64 * 32 + i]).toBe(Math.fround(2 * Math.fround(128 / 255) - 1));
      }
    }
  });

  it("puts bars beside a narrow picture that leaves no whole pixel", () => {
    const got = fitFrame(plain(5, 1000, 255), { width: 8, height: 8, fit: "pad" }).data;
    for (let x = 0; x < 8; x++) expect(got[3 * x]).toBe(x === 4 ? 255 : 0);
  });

  it.each<[string, Frame[], { width: number; height: number; fit?: Fit }, string]>([
    ["no frame", [], { width: 8, height: 8 }, "[video] a video must have at least one frame"],
    [
      "frames of two sizes",
      [plain(4, 4, 0), plain(4, 6, 0)],
      { width: 8, height: 8 },
      "all frames must have one size, got 4×4 and then 4×6",
    ],
    ["half a pixel", [plain(4, 4, 0)], { width: 8, height: 7.5 }, "height must be a whole number from 1 to 65536, got 7.5"],
    ["another fit", [plain(4, 4, 0)], { width: 8, height: 8, fit: "cover" as Fit }, 'fit must be crop, stretch or pad, got "cover"'],
    [
      "too much",
      Array.from({ length: 10 }, () => plain(1, 1, 0)),
      { width: 65536, height: 65536 },
      "a video may have 2147483648 values in all, got 3 × 10 × 65536 × 65536",
    ],
    [
      "bytes that are no frame",
      [{ width: 4, height: 4, data: new Uint8Array(5) }],
      { width: 8, height: 8 },
      "must have 48 bytes of RGB or 64 of RGBA, got 5",
    ],
  ])("refuses %s", (_, frames, to, message) => {
    expect(() => fitFrames(frames, to)).toThrow(message);
  });
});
