import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { measure, travelOf, type World } from "../../src/check/clip-attributes.ts";
import { captionOf, drawClip, MOTIONS, SHAPES, type Combination } from "../../src/check/moving-shapes.ts";
import { drawn } from "../../src/check/sweep/draw.ts";

const world = JSON.parse(readFileSync("models/moving-shapes/attributes.json", "utf8")) as World;

/** Numbers from 0 to below 1. */
function stream(seed: number): () => number {
  const values = drawn(64, seed);
  let at = 0;
  return () => (values[at++ % 64]! + 1) / 2;
}
const draw = (combination: Combination, seed: number, size = 64) =>
  drawClip(combination, world, { frames: 17, width: size, height: size, random: stream(seed) });

/** Corners of a shape: how often its outline, seen from its middle, comes nearer and goes away again. */
function corners(clip: ReturnType<typeof draw>): number {
  const { width, height, data } = clip[0]!;
  const inside: [number, number][] = [];
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) if (data[(y * width + x) * 4]! > 128) inside.push([x, y]);
  const [cx, cy] = [0, 1].map((axis) => inside.reduce((sum, p) => sum + p[axis]!, 0) / inside.length) as [number, number];
  const reach = new Float64Array(36);
  for (const [x, y] of inside) {
    const sector = Math.floor(((Math.atan2(y - cy, x - cx) / (2 * Math.PI) + 1) % 1) * 36);
    reach[sector] = Math.max(reach[sector]!, Math.hypot(x - cx, y - cy));
  }
  const mean = reach.reduce((a, b) => a + b, 0) / 36;
  return reach.filter((r, i) => r > mean && reach[(i + 35) % 36]! <= mean).length;
}

test("drawn clips show what their captions say, by the measure of the embedded checkpoint", () => {
  for (const [c, colour] of Object.keys(world.colours).entries())
    for (const [i, motion] of MOTIONS.filter((name) => name !== "moving diagonally").entries()) {
      const combination = {
        colour,
        shape: SHAPES[(c + i) % 3]!,
        motion,
        background: Object.keys(world.backgrounds)[(c + 2 * i) % 3]!,
      };
      expect(measure(draw(combination, 7 * c + i), world), captionOf(combination)).toEqual({
        background: combination.background,
        colour,
        motion,
        shape: combination.shape,
      });
    }
});

test("what the checkpoint never saw: a diagonal goes six pixels on both axes, a star has five corners", () => {
  for (let seed = 0; seed < 6; seed++) {
    const { dx, dy } = travelOf(draw({ colour: "red", shape: "circle", motion: "moving diagonally", background: "black" }, seed))!;
    expect(Math.min(dx, dy)).toBeGreaterThanOrEqual(6);
    // Large and at rest, in white and red: one channel tells it from the black.
    const star = (shape: string) => corners(draw({ colour: "red", shape, motion: "shrinking", background: "black" }, seed, 256));
    expect([star("star"), star("square"), star("triangle")]).toEqual([5, 4, 3]);
  }
});

test("another size and aspect shows the same, and the same numbers draw the same clip", () => {
  const combination = { colour: "blue", shape: "square", motion: "moving left", background: "gray" };
  const wide = drawClip(combination, world, { frames: 9, width: 96, height: 48, random: stream(3) });
  expect([wide.length, wide[0]!.width, wide[0]!.height]).toEqual([9, 96, 48]);
  expect(measure(wide, world)).toMatchObject({ colour: "blue", background: "gray", motion: "moving left" });
  expect(draw(combination, 5)).toEqual(draw(combination, 5));
});

test("what cannot be drawn is refused with what can", () => {
  const one = { colour: "red", shape: "circle", motion: "moving up", background: "black" };
  expect(() => draw({ ...one, shape: "hexagon" }, 1)).toThrow(/\[shapes\] a clip is drawn of red, .* got "a red hexagon moving up/);
  expect(() => draw({ ...one, background: "pink" }, 1)).toThrow(/black, white, gray; got/);
});
