/**
 * Draws the clips that the embedded checkpoint was made for: one plain-coloured shape that moves, grows or shrinks on a plain background;
 * and those that it never saw, for adapters to learn. A caption names what a clip shows; place, size and speed are drawn.
 *
 * Geometry is in pixels of a picture of 64 × 64, y pointing down; another size scales it. The same as models/moving-shapes/train/shapes.py.
 */
import { CogwheelError } from "../base/errors.ts";
import type { Frame } from "../video/frame.ts";
import type { World } from "./clip-attributes.ts";

/** One value of each attribute. */
export interface Combination {
  readonly colour: string;
  readonly shape: string;
  readonly motion: string;
  readonly background: string;
}

export interface ClipOptions {
  readonly frames: number;
  readonly width: number;
  readonly height: number;
  /** Numbers from 0 to below 1. */
  random(): number;
}

/** Half of the side that geometry is told in. */
const HALF = 32;

/** Directions of the motions that move; `moving diagonally` is one that the embedded checkpoint never saw. */
const DIRECTIONS: Readonly<Record<string, readonly [number, number]>> = {
  "moving left": [-1, 0],
  "moving right": [1, 0],
  "moving up": [0, -1],
  "moving down": [0, 1],
  "moving diagonally": [1, 1],
};

export const SHAPES = ["circle", "square", "triangle", "star"] as const;
export const MOTIONS = [...Object.keys(DIRECTIONS), "growing", "shrinking"] as const;

type Form = (combination: Combination) => string;

/** The forms of captions that the embedded checkpoint learned from; prompts have the first. */
export const CAPTION_FORMS: readonly [Form, ...Form[]] = [
  ({ colour, shape, motion, background }) => `a ${colour} ${shape} ${motion} on a ${background} background`,
  ({ colour, shape, motion, background }) => `a ${colour} ${shape} is ${motion} on a ${background} background`,
  ({ colour, shape, motion, background }) => `on a ${background} background, a ${colour} ${shape} is ${motion}`,
  ({ colour, shape, motion, background }) => `a ${background} background with a ${colour} ${shape} ${motion}`,
  ({ colour, shape, motion, background }) => `${colour} ${shape} ${motion}, ${background} background`,
  ({ colour, shape, motion, background }) => `A ${colour} ${shape}, ${motion}, on a ${background} background.`,
];
/** As prompts say it. */
export const captionOf: Form = CAPTION_FORMS[0];

/** A clip of what a combination names. */
export function drawClip(combination: Combination, world: World, { frames, width, height, random }: ClipOptions): Frame[] {
  const [colour, background] = [world.colours[combination.colour], world.backgrounds[combination.background]];
  const known = SHAPES.includes(combination.shape as never) && MOTIONS.includes(combination.motion as never);
  if (!colour || !background || !known)
    throw new CogwheelError(
      "shapes",
      `a clip is drawn of ${Object.keys(world.colours).join(", ")}; ${SHAPES.join(", ")}; ${MOTIONS.join(", ")}; ` +
        `${Object.keys(world.backgrounds).join(", ")}; got "${captionOf(combination)}"`,
    );
  const path = trajectory(combination.motion, frames, random);
  const scale = Math.min(width, height) / (2 * HALF);
  return path.map(({ x, y, radius }) => {
    const data = new Uint8Array(width * height * 4);
    for (let j = 0; j < height; j++)
      for (let i = 0; i < width; i++) {
        // From the middle of the picture, whatever its aspect.
        const dx = (i + 0.5 - width / 2) / scale - x;
        const dy = (j + 0.5 - height / 2) / scale - y;
        // An edge of two pixels.
        const cover = Math.min(1, Math.max(0, 0.5 - (signedDistance(combination.shape, dx, dy, radius) * scale) / 2));
        const at = (j * width + i) * 4;
        for (let c = 0; c < 3; c++) data[at + c] = Math.round(background[c]! + (colour[c]! - background[c]!) * cover);
        data[at + 3] = 255;
      }
    return { width, height, data };
  });
}

interface Place {
  readonly x: number;
  readonly y: number;
  readonly radius: number;
}

/** Where the shape is in each frame, from the picture's middle, and how large. */
function trajectory(motion: string, frames: number, random: () => number): Place[] {
  const uniform = (low: number, high: number): number => low + (high - low) * random();
  const times = Array.from({ length: frames }, (_, f) => (frames === 1 ? random() : f / (frames - 1)));
  const direction = DIRECTIONS[motion];
  if (direction) {
    const radius = uniform(0.34, 0.44) * HALF;
    const room = HALF - 0.9 * radius;
    const travel = uniform(24, 2 * room);
    const start = -uniform(travel - room, room);
    const across = uniform(-8, 8);
    const [dx, dy] = direction;
    return times.map((time) => {
      const along = start + travel * time;
      return { x: dx === 0 ? across : dx * along, y: dy === 0 ? across : dy * along, radius };
    });
  }
  const [small, large] = [uniform(0.2, 0.28) * HALF, uniform(0.58, 0.7) * HALF];
  const [first, last] = motion === "growing" ? [small, large] : [large, small];
  const [x, y] = [uniform(-7, 7), uniform(-7, 7)];
  return times.map((time) => ({ x, y, radius: first + (last - first) * time }));
}

/** Distance to the outline, negative inside. Sizes are chosen to have similar areas. */
function signedDistance(shape: string, dx: number, dy: number, radius: number): number {
  if (shape === "circle") return Math.hypot(dx, dy) - radius;
  if (shape === "square") return Math.max(Math.abs(dx), Math.abs(dy)) - 0.89 * radius;
  if (shape === "triangle") {
    // Equilateral, pointing up, its centroid in the middle; the inner radius is half the outer one.
    return Math.max(dy, 0.8660254 * Math.abs(dx) - 0.5 * dy) - 0.68 * radius;
  }
  return starDistance(dx, dy, 1.25 * radius);
}

/** A star of five corners, pointing up, of an outer radius. */
function starDistance(x: number, y: number, outer: number): number {
  const inner = 0.45;
  let [px, py] = [Math.abs(x), -y];
  for (const [kx, ky] of [
    [0.809016994375, -0.587785252292],
    [-0.809016994375, -0.587785252292],
  ] as const) {
    const along = Math.max(kx * px + ky * py, 0);
    px -= 2 * along * kx;
    py -= 2 * along * ky;
  }
  px = Math.abs(px);
  py -= outer;
  const [bx, by] = [inner * 0.587785252292, inner * 0.809016994375 - 1];
  const h = Math.min(Math.max((px * bx + py * by) / (bx * bx + by * by), 0), outer);
  return Math.hypot(px - bx * h, py - by * h) * Math.sign(py * bx - px * by);
}
