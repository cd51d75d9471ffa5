/** Measures of drawn films, what filters drop by which part, clips that look alike, and the page that shows it. */
import { BufferSource } from "mediabunny";
import { expect, test } from "vitest";
import { curvesOfFilm, curvesOfPictures } from "../../src/curation/curves/read.ts";
import { openFilm, packetTimes } from "../../src/curation/film/open.ts";
import { encodeBytes } from "../../src/video/formats.ts";
import { decodePictures, encodeCurves } from "../../src/curation/curves/columns.ts";
import { select } from "../../src/curation/dataset/select.ts";
import { parseFilter } from "../../src/curation/filter.ts";
import { duplicatesOf } from "../../src/curation/measures/duplicates.ts";
import { type ClipScores, scoresOf } from "../../src/curation/measures/scores.ts";
import { reportedPart } from "../../src/curation/report/histograms.ts";
import { reportOf } from "../../src/curation/report/page.ts";
import type { Frame } from "../../src/video/frame.ts";
import { drawnFilm } from "../support/shots.ts";

async function* timed(frames: readonly Frame[]): AsyncGenerator<Frame & { seconds: number; duration: number }> {
  for (const [i, frame] of frames.entries()) yield await Promise.resolve({ ...frame, seconds: i / 24, duration: 1 / 24 });
}
async function scored(speed: number, change = (frame: Frame, _i: number): Frame => frame): Promise<ClipScores> {
  const { frames } = drawnFilm([{ seed: 7, frames: 40, speed }], { width: 160, height: 96 });
  const { curves } = await curvesOfPictures(timed(frames.map(change)));
  return scoresOf(curves, 0, curves.frames);
}
const painted = (frame: Frame, value: (old: number, x: number, y: number) => number): Frame => ({
  ...frame,
  data: frame.data.map((old, i) => (i % 4 === 3 ? 255 : value(old, (i >> 2) % frame.width, Math.floor((i >> 2) / frame.width)))),
});

test("motion is what the picture moves by, in its widths a second, and the camera's where all of it moves", async () => {
  // Texture all over, for nobody sees flat parts move.
  const texture = (x: number, y: number): number => 128 + 50 * Math.sin(0.5 * x + 0.2 * y) + 40 * Math.sin(0.4 * y - 0.15 * x);
  const size = { width: 160, height: 96 };
  for (const speed of [0.25, 1]) {
    const pan = Array.from({ length: 40 }, (_, t) => {
      const still = { ...size, data: new Uint8Array(4 * size.width * size.height) };
      return painted(still, (_old, x, y) => texture(x + speed * t, y));
    });
    const { curves } = await curvesOfPictures(timed(pan));
    const { motion, camera, local } = scoresOf(curves, 0, curves.frames);
    const real = (24 * speed) / 160;
    expect(Math.abs(motion / real - 1)).toBeLessThan(0.1);
    expect(Math.abs(camera / real - 1)).toBeLessThan(0.1);
    expect(local).toBeLessThan(0.1 * motion);
  }
});

test("a still, bars, trembling light, a blurred and a dark picture are seen", async () => {
  const plain = await scored(0.3);
  const first = drawnFilm([{ seed: 7, frames: 1 }], { width: 160, height: 96 }).frames[0]!;
  const still = await scored(0.3, () => first);
  expect([still.still, still.motion]).toEqual([1, 0]);
  expect(plain.still).toBe(0);
  const barred = await scored(0.3, (frame) => painted(frame, (old, _x, y) => (y < 12 || y >= 84 ? 0 : old)));
  expect(barred.letterbox).toBeCloseTo(0.25, 1);
  expect(plain.letterbox).toBe(0);
  const trembling = await scored(0.3, (frame, i) => painted(frame, (old) => (i % 2 ? 0.8 * old : old)));
  expect(trembling.flicker).toBeGreaterThan(20 * plain.flicker);
  const blurred = await scored(0.3, (frame) => painted(frame, (_old, x, y) => frame.data[4 * ((y & ~15) * frame.width + (x & ~15))]! / 4));
  expect(blurred.sharpness).toBeLessThan(plain.sharpness);
  expect(blurred.brightness).toBeLessThan(plain.brightness / 2);
});

test("a clip is dropped by the first part that it fails, and by being another one's double", () => {
  const rows = [{ a: 1, b: 1 }, { a: 0, b: 1 }, { a: 1, b: 0 }, { a: 1, b: 1, duplicate_of: "x" }, {}];
  const filter = parseFilter("a > 0 && (b > 0 || b == 7)");
  expect(filter.parts.map(({ text }) => text)).toEqual(["a > 0", "(b > 0 || b == 7)"]);
  const { reasons, dropped, kept } = select(rows, filter, "drop");
  expect(reasons).toEqual([undefined, "a > 0", "(b > 0 || b == 7)", "duplicate", "a > 0"]);
  expect([dropped, kept]).toEqual([{ "a > 0": 2, "(b > 0 || b == 7)": 1, duplicate: 1 }, 1]);
  // What an outermost "or" joins is no part that a row has to pass.
  expect(parseFilter("a > 0 || b > 0").parts.map(({ text }) => text)).toEqual(["a > 0 || b > 0"]);
});

test("clips alike in all three moments, and about as long, are the first one's doubles", () => {
  const hashes = ["0123456789abcdef", "ffffffff00000000", "00ff00ff00ff00ff"];
  const near = ["0123456789abcdee", "fffffff300000000", "00ff00ff00ff00fe"];
  const clips = [
    { id: "a", hashes, seconds: 6 },
    { id: "b", hashes: near, seconds: 6.1 },
    { id: "c", hashes: near, seconds: 3 },
    { id: "d", hashes: [...near.slice(0, 2), "ffffffffffffffff"], seconds: 6 },
  ];
  expect([...duplicatesOf(clips)]).toEqual([["b", "a"]]);
});

test("the report says what was dropped, believes no name, and has its pictures in it", async () => {
  const { curves, pictures } = await curvesOfPictures(timed(drawnFilm([{ seed: 1, frames: 30 }]).frames));
  expect(pictures.map(({ frame }) => frame)).toEqual([0, 22]);
  const [again] = decodePictures(encodeCurves(curves, pictures), "c");
  expect(again).toEqual(pictures[0]);
  expect([...again!.jpeg.subarray(0, 2)]).toEqual([0xff, 0xd8]);
  const clip = { start: 0, end: 1, film: 0, duplicateOf: undefined, caption: "", picture: again!.jpeg };
  const page = reportOf({
    title: "</title><script>alert(1)</script>",
    facts: {},
    films: [{ name: "<b>.mp4", seconds: 2, frames: 60, transitions: [], times: [] }],
    clips: [
      { ...clip, id: "a", name: "<b>.mp4", reason: undefined, scores: { motion: 1 } },
      { ...clip, id: "b", name: "</script>", reason: "motion > 0.5", scores: { motion: 0 } },
    ],
    refused: [{ path: "x", stage: "scan", message: "[scan] <no>" }],
    dropped: { "motion > 0.5": 1 },
    parts: [reportedPart("motion > 0.5", ["motion"], () => []), reportedPart("</script> in tags", ["motion"], () => [true, true])],
  });
  expect(page.match(/<script>/g)!.length).toBe(1);
  expect(page.match(/<\/script>/g)!.length).toBe(1);
  expect(page).not.toContain("<b>.mp4");
  expect(page).toContain("dropped by motion &gt; 0.5: 1");
  expect(page.match(/data:image\/jpeg/g)!.length).toBe(2);
});

test("captions stand beside the frames that were described, what is wrong with them, and their words", () => {
  const clip = { start: 0, end: 4, film: 0, name: "a.mp4", duplicateOf: undefined, reason: undefined, scores: {}, picture: undefined };
  const frame = (seconds: number, text: string, byte: number) => ({ seconds, text, picture: Uint8Array.of(byte, 1, 2) });
  const page = reportOf({
    title: "x",
    facts: {},
    films: [],
    clips: [
      {
        ...clip,
        id: "a",
        caption: "A dog runs over a meadow.",
        told: {
          short: "A <dog> runs.",
          frames: [frame(0, "a dog & grass", 3), frame(2, "a dog leaps", 4)],
          violations: ["words: at most 4 words"],
          model: "eyes",
        },
      },
      { ...clip, id: "b", caption: "Two dogs sleep." },
      { ...clip, id: "c", caption: "", told: { short: "of no caption" } },
    ],
    refused: [],
    dropped: {},
    parts: [],
  });
  expect(page).toContain("Captions: 2");
  expect(page).toMatch(/base64,AwEC">.*?<b>0 s<\/b> a dog &amp; grass.*?base64,BAEC">.*?<b>2 s<\/b> a dog leaps/);
  expect(page).toContain("A &lt;dog&gt; runs.");
  expect(page).toContain('<small class="mark">words: at most 4 words</small>');
  expect(page).toContain("<code>a</code> by eyes");
  expect(page).toContain("<small>3 to 6, half of them up to 3</small>");
  expect(page).toContain("<span>dog <small>100 %</small></span> <span>meadow <small>50 %</small></span>");
  expect(page).not.toContain("of no caption");
});

test("a film that says that its luma goes from 0 to 255 is measured so, though the decoder keeps that to itself", async () => {
  const grey = { width: 64, height: 48, data: new Uint8Array(4 * 64 * 48).fill(80) };
  const film = await encodeBytes(Array(12).fill(grey) as Frame[], { format: "mp4", fps: 12 });
  const brightness = async (bytes: Uint8Array<ArrayBuffer>): Promise<number> => {
    using open = await openFilm(new BufferSource(bytes), "grey.mp4");
    const { curves } = await curvesOfFilm(open, await packetTimes(open, () => {}), () => {});
    return 255 * scoresOf(curves, 0, curves.frames).brightness;
  };
  const box = Buffer.from(film).indexOf("colrnclx");
  expect(box).toBeGreaterThan(0);
  const full = Uint8Array.from(film);
  full[box + 14]! |= 0x80;
  // The film's luma of grey 80 is 16 + 219 · 80 / 255 = 85.
  expect(Math.abs((await brightness(Uint8Array.from(film))) - 80)).toBeLessThan(1.5);
  expect(Math.abs((await brightness(full)) - 85)).toBeLessThan(1.5);
});
