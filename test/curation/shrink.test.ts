/** Pictures made small for a network, beside ffmpeg's own of the same films (fixtures/shrunk.py). */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { Shrinker } from "../../src/curation/film/shrink.ts";
import { bytesTaskFile, shrunkFrames } from "../../src/curation/work/tasks.ts";

const { films } = JSON.parse(readFileSync("test/curation/fixtures/shrunk.json", "utf8")) as { films: Record<string, string> };
const SIZE = { width: 48, height: 27 };

test.each(Object.keys(films))("%s is made small as ffmpeg does it", async (name) => {
  const file = bytesTaskFile(name, Uint8Array.from(readFileSync(join("test/video/fixtures/films", name))));
  const { value } = await shrunkFrames(file, SIZE, () => {}).next();
  const theirs = new Uint8Array(Buffer.from(films[name]!, "base64"));
  const away = Array.from(theirs, (byte, i) => Math.abs(byte - value![i]!));
  expect(value!.length).toBe(theirs.length);
  expect(Math.max(...away)).toBeLessThanOrEqual(name.includes("444") ? 9 : 4);
  expect(away.reduce((a, b) => a + b) / away.length).toBeLessThan(0.5);
});

test.each([
  ["format-av1-gbrp.mkv", "RGB of 8 bits in AV1"],
  ["format-hevc-gray.mp4", "greyscale of 8 bits in HEVC"],
  ["format-vp9-yuv440p.webm", "4:4:0 of 8 bits in VP9"],
])("%s, which the decoder would mistake, is refused by name", async (name, kind) => {
  const file = bytesTaskFile(name, Uint8Array.from(readFileSync(join("test/video/fixtures/films", name))));
  await expect(shrunkFrames(file, SIZE, () => {}).next()).rejects.toThrow(
    `[scan] ${name} must be in a format that the decoder for Node gives whole, got ${kind}`,
  );
});

test("a picture of one colour keeps it, and no pixel leaves its place", () => {
  const [width, height] = [97, 54];
  const data = new Uint8Array(4 * width * height).map((_, i) => [200, 100, 50, 255][i % 4]!);
  const plain = new Shrinker(SIZE).shrink({ kind: "rgba", data, width, height });
  expect([...plain.subarray(0, 3), ...plain.subarray(-3)]).toEqual([200, 100, 50, 200, 100, 50]);
  // The left half white, turned by 90° clockwise: the upper half.
  const half = data.map((_, i) => ((i >> 2) % width < width / 2 ? 255 : 0));
  const turned = new Shrinker(SIZE, 90).shrink({ kind: "rgba", data: half, width, height });
  expect([turned[0], turned[3 * 47], turned.at(-1), turned.at(-3 * 48)]).toEqual([255, 255, 0, 0]);
});
