/** Frames of a film at another rate and size. */
import { describe, expect, it } from "vitest";
import { clipSize, wholeFrames } from "../../src/data/clip-size.ts";
import { readClip } from "../../src/video/clip.ts";
import { encodeVideo } from "../../src/video/encode.ts";
import type { Frame } from "../../src/video/frame.ts";

/** A frame of one shade, 20 for each number. */
const shade = (n: number, width = 8, height = 8): Frame => ({ width, height, data: new Uint8Array(width * height * 3).fill(20 * n) });
const film = (count: number, fps: number): Promise<Uint8Array> =>
  encodeVideo(
    Array.from({ length: count }, (_, n) => shade(n)),
    { format: "gif", fps },
  );
const numbers = (frames: readonly Frame[]): number[] => frames.map(({ data }) => Math.round(data[0]! / 20));
const same = (width: number, height: number) => ({ width, height });

describe("frames by their time", () => {
  it.each([
    ["the same rate", 8, 10, 10, 99, [0, 1, 2, 3, 4, 5, 6, 7]],
    ["a hundredth of a second rounded", 9, 8, 8, 99, [0, 1, 2, 3, 4, 5, 6, 7, 8]],
    ["half the rate", 8, 10, 5, 99, [0, 2, 4, 6]],
    ["twice the rate", 4, 5, 10, 99, [0, 0, 1, 1, 2, 2, 3, 3]],
    ["no more than are asked for", 8, 10, 5, 3, [0, 2, 4]],
    ["the first alone", 8, 10, 5, 1, [0]],
    ["a film shorter than a frame", 1, 20, 2, 9, [0]],
  ])("%s", async (_, count, from, fps, frames, want) => {
    expect(numbers((await readClip(await film(count, from), { fps, frames, size: same })).frames)).toEqual(want);
  });

  it("a picture is one frame", async () => {
    const { frames, source } = await readClip(await encodeVideo([shade(3, 6, 4)], { format: "png", fps: 8 }), {
      fps: 8,
      frames: 9,
      size: same,
    });
    expect([numbers(frames), source]).toEqual([[3], { width: 6, height: 4 }]);
  });

  it("comes in the size that is asked for, cropped in the middle", async () => {
    const wide = shade(0, 12, 4);
    for (let y = 0; y < 4; y++) (wide.data as Uint8Array).fill(200, (y * 12 + 4) * 3, (y * 12 + 8) * 3);
    const { frames } = await readClip(await encodeVideo([wide], { format: "png", fps: 8 }), {
      fps: 8,
      frames: 1,
      size: () => ({ width: 4, height: 4 }),
    });
    expect(new Set(frames[0]!.data)).toEqual(new Set([200]));
  });
});

describe("sizes", () => {
  it.each([
    [1920, 1080, { width: 848, height: 480 }],
    [1080, 1920, { width: 480, height: 848 }],
    [500, 500, { width: 480, height: 480 }],
    [5000, 10, { width: 1920, height: 480 }],
  ])("%i×%i keeps its aspect", (width, height, want) => {
    expect(clipSize(width, height, 480, 16)).toEqual(want);
    expect(clipSize(width, height, { width: 720, height: 480 }, 16)).toEqual({ width: 720, height: 480 });
  });
  it("lengths are 4k + 1", () => {
    expect([1, 4, 5, 17, 49, 52].map((n) => wholeFrames(n, 4))).toEqual([1, 1, 5, 17, 49, 49]);
  });
});
