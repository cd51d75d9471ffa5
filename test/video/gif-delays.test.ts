/** How long the frames of a GIF are shown, and that a file is the same bytes whenever it is made. */
import { describe, expect, it } from "vitest";
import { encodeVideo } from "../../src/video/encode.ts";
import { decodeVideo } from "../../src/video/decode.ts";
import type { Frame } from "../../src/video/frame.ts";
import { gifDelays, gifWarning } from "../../src/video/gif-delays.ts";

const film = (count: number): Frame[] =>
  Array.from({ length: count }, (_, i) => ({
    width: 16,
    height: 16,
    data: Uint8Array.from({ length: 768 }, (__, j) => (37 * i + j) & 255),
  }));

/** The delays in a GIF's bytes, in hundredths: of each graphic control extension. */
function delaysIn(file: Uint8Array): number[] {
  const delays: number[] = [];
  for (let i = 0; i + 8 < file.length; i++) {
    if (file[i] === 0x21 && file[i + 1] === 0xf9 && file[i + 2] === 4 && file[i + 7] === 0) delays.push(file[i + 4]! + 256 * file[i + 5]!);
  }
  return delays;
}

describe("delays of a GIF", () => {
  it.each([0.5, 1, 7, 8, 12.5, 24, 25, 29.97, 30, 33, 48, 50, 51, 55, 59.94, 60, 75, 90, 100, 120, 144, 240, 1000])(
    "at %d frames a second",
    (fps) => {
      for (const count of [1, 2, 3, 9, 17, 49, 100, 500]) {
        const shown = gifDelays(count, fps);
        const wanted = (100 * count) / fps;
        const sum = shown.reduce((all, { delay }) => all + delay, 0);
        expect(shown[0]!.index, "the first is shown").toBe(0);
        expect(Math.min(...shown.map((s) => s.delay)), "no player takes it for a tenth").toBeGreaterThanOrEqual(2);
        // A film that is shorter than what a GIF can show is shown as briefly as it can.
        expect(Math.abs(sum - Math.max(2, wanted)), `${count} frames: hundredths in all`).toBeLessThanOrEqual(1);
        if (fps <= 50) expect(shown.length, "all are shown").toBe(count);
        // Each begins at its time, and they are left out evenly.
        shown.reduce((at, { index, delay }) => (expect(Math.abs(at - (100 * index) / fps)).toBeLessThanOrEqual(0.5), at + delay), 0);
        const steps = shown.slice(1).map(({ index }, i) => index - shown[i]!.index);
        expect(Math.max(0, ...steps) - Math.min(...steps, Infinity) <= Math.ceil(fps / 100) || steps.length === 0).toBe(true);
      }
    },
  );

  it("are in the file, and come back", async () => {
    const file = await encodeVideo(film(30), { format: "gif", fps: 60 });
    const delays = delaysIn(file);
    expect(delays.reduce((a, b) => a + b)).toBe(50);
    expect(Math.min(...delays)).toBe(2);
    expect((await decodeVideo(file)).frames.length).toBe(delays.length);
    expect(delaysIn(await encodeVideo(film(9), { format: "gif", fps: 8 })).reduce((a, b) => a + b)).toBe(113);
  });

  it("a frame that would be shown too long is refused; a rate that a GIF cannot show is told", async () => {
    await expect(encodeVideo(film(2), { format: "gif", fps: 0.001 })).rejects.toThrow(
      "[video] a frame of a gif is shown for at most 655.35 seconds, got 0.001 frames a second; choose a higher frame rate, or mp4",
    );
    expect(gifWarning("a.GIF", 60)).toMatch(/^\[video\] a GIF shows at most 50 frames a second: of 60, frames are left out evenly/);
    expect([gifWarning("a.gif", 50), gifWarning("a.mp4", 60)]).toEqual([undefined, undefined]);
  });
});

it("the same frames make the same bytes, whenever that is", async () => {
  const formats = ["mp4", "webm", "gif"] as const;
  const make = async () => Promise.all(formats.map((format) => encodeVideo(film(9), { format, fps: 8 })));
  const first = await make();
  await new Promise((later) => setTimeout(later, 2100)); // an MP4 counts whole seconds
  const second = await make();
  for (const [i, format] of formats.entries()) expect(Buffer.compare(first[i]!, second[i]!), format).toBe(0);
  // No date at all: those of the film, the track and its media are zero.
  const mp4 = Buffer.from(first[0]!);
  for (const box of ["mvhd", "tkhd", "mdhd"]) {
    const at = mp4.indexOf(box);
    expect(mp4.readUInt8(at + 4), `${box}'s version`).toBe(0);
    expect([mp4.readUInt32BE(at + 8), mp4.readUInt32BE(at + 12)], box).toEqual([0, 0]);
  }
  expect((await decodeVideo(first[0]!)).frames.length).toBe(9);
});
