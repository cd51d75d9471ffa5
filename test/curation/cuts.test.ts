/** Changes of shot in drawn films: hard cuts, dissolves and fades, found where they are, and nothing in films of one shot. */
import { expect, test } from "vitest";
import { curvesOfPictures } from "../../src/curation/curves/read.ts";
import type { Curves } from "../../src/curation/curves/columns.ts";
import { decodeCurves, encodeCurves } from "../../src/curation/curves/columns.ts";
import { clipsOf, CLIP_DEFAULTS, shotsOf } from "../../src/curation/cuts/clips.ts";
import { DETECT_DEFAULTS, type DetectorName, detectTransitions } from "../../src/curation/cuts/detect.ts";
import type { MediaFacts } from "../../src/curation/types.ts";
import type { Frame } from "../../src/video/frame.ts";
import { drawnFilm, type DrawnShot } from "../support/shots.ts";

async function* timed(frames: readonly Frame[], fps: number): AsyncGenerator<Frame & { seconds: number; duration: number }> {
  for (const [i, frame] of frames.entries()) yield await Promise.resolve({ ...frame, seconds: i / fps, duration: 1 / fps });
}
const curvesFor = async (shots: readonly DrawnShot[], fps = 24): Promise<{ curves: Curves; cuts: number[] }> => {
  const { frames, cuts } = drawnFilm(shots);
  return { curves: (await curvesOfPictures(timed(frames, fps))).curves, cuts };
};
const found = (curves: Curves, detectors: readonly DetectorName[] = DETECT_DEFAULTS.detectors): number[] =>
  detectTransitions(curves, { ...DETECT_DEFAULTS, detectors }).map(({ at }) => at);

test("hard cuts are found at their frame, by each detector that claims them", async () => {
  const { curves, cuts } = await curvesFor([11, 12, 13, 14].map((seed, i) => ({ seed, frames: 20 + 7 * i })));
  for (const by of ["adaptive", "content", "histogram"] as const) expect(found(curves, [by]), by).toEqual(cuts);
  expect(found(curves)).toEqual(cuts);
});

test("one shot, however it moves, has none; nor has a flash", async () => {
  for (const speed of [0, 0.5, 4]) expect(found((await curvesFor([{ seed: 5, frames: 60, speed }])).curves)).toEqual([]);
  const { frames } = drawnFilm([{ seed: 6, frames: 40 }]);
  frames[20] = { ...frames[20]!, data: frames[20]!.data.map((value) => 128 + value / 2) };
  expect(found((await curvesOfPictures(timed(frames, 24))).curves, ["adaptive", "content"])).toEqual([]);
});

test("a fade is found, and its frames are in no shot", async () => {
  const { curves, cuts } = await curvesFor([
    { seed: 21, frames: 60 },
    { seed: 24, frames: 60, fade: 12 },
  ]);
  const [change, ...others] = detectTransitions(curves, DETECT_DEFAULTS);
  expect(others).toEqual([]);
  expect(Math.abs(change!.at - cuts[0]!)).toBeLessThanOrEqual(3);
  const [a, b] = shotsOf(curves, [change!]);
  expect(a!.to).toBeLessThanOrEqual(cuts[0]! - 5);
  expect(b!.from).toBeGreaterThanOrEqual(cuts[0]! + 5);
});

test("curves come back from their file, and half a file is refused", async () => {
  const { curves } = await curvesFor([{ seed: 1, frames: 30 }]);
  const file = encodeCurves(curves);
  expect(decodeCurves(file, "c")).toEqual(curves);
  expect(() => decodeCurves(file.subarray(0, file.length - 4), "c")).toThrow(/\[curves\] c must hold 30 frames, got .*delete it/);
});

test("clips have the model's length, within their shot and off its ends; what is too short is none", async () => {
  const { curves } = await curvesFor([
    { seed: 11, frames: 24 * 7, speed: 0.2 },
    { seed: 12, frames: 30, speed: 0.2 },
    { seed: 13, frames: 24 * 14, speed: 0.2 },
  ]);
  // As an encoder would have it: a key frame at the beginning alone.
  curves.keys.fill(0, 1);
  curves.breaks.fill(0, 1);
  const facts: MediaFacts = {
    kind: "film",
    container: "",
    codec: "",
    width: 1,
    height: 1,
    rotation: 0,
    fps: 24,
    variable: false,
    packets: 0,
    duration: 0,
  };
  const shots = shotsOf(curves, detectTransitions(curves, DETECT_DEFAULTS));
  const clips = clipsOf("s", facts, curves, shots, CLIP_DEFAULTS);
  // 49 frames at 8 a second are 6 seconds and a frame.
  expect(clips.map(({ from, to }) => [from, to])).toEqual([
    [0, 145],
    [201, 346],
    [346, 491],
  ]);
  expect(clips.every(({ copies }) => !copies)).toBe(true);
});

test("a film of variable rate is encoded at that of its pictures, whatever gaps are between them, and at no endless one", async () => {
  const { frames } = drawnFilm([{ frames: 60, seed: 2 }]);
  const facts = { kind: "film", width: 1, height: 1, fps: 20, variable: true } as MediaFacts;
  const rateOf = async (timeOf: (i: number) => number): Promise<number | undefined> => {
    const times = frames.map((frame, i) => ({ ...frame, seconds: timeOf(i), duration: timeOf(i + 1) - timeOf(i) }));
    async function* pictures(): AsyncGenerator<(typeof times)[number]> {
      for (const one of times) yield await Promise.resolve(one);
    }
    const { curves } = await curvesOfPictures(pictures());
    return clipsOf("s", facts, curves, [{ from: 0, to: 60 }], { ...CLIP_DEFAULTS, shortest: 1 })[0]!.rate;
  };
  // 30 a second in whole milliseconds, a third of a second without one in each second.
  expect(await rateOf((i) => Math.round(1000 * (i / 30 + Math.floor(i / 20) / 3)) / 1000)).toBeCloseTo(30, 1);
  expect(await rateOf((i) => (i < 40 ? i / 10_000 : i / 10))).toBe(120);
});

test("what a network scores: rows of frames above the threshold are changes, one frame a hard cut", async () => {
  const { curves } = await curvesFor([{ seed: 1, frames: 90 }]);
  const scores = new Float32Array(90).fill(0.1);
  scores[29] = 0.9; // the last frame of its shot
  scores.set([0.6, 0.8, 0.7, 0.51], 50);
  scores[70] = 0.5; // not above it
  scores[89] = 1; // nothing is behind it
  const by = (probability: number) => detectTransitions(curves, { ...DETECT_DEFAULTS, detectors: ["transnet"], probability }, scores);
  expect(by(0.5).map(({ at, from, to }) => [at, from, to])).toEqual([
    [30, 30, 30],
    [53, 51, 54],
  ]);
  expect(shotsOf(curves, by(0.5))).toEqual([
    { from: 0, to: 30 },
    { from: 30, to: 51 },
    { from: 54, to: 90 },
  ]);
  expect(by(0.95)).toEqual([]);
  const without = () => detectTransitions(curves, { ...DETECT_DEFAULTS, detectors: ["transnet"] });
  expect(without).toThrow(/\[cut\] the detector transnet must have a score for each of 90 frames, got none; name .*--transnet/);
});
