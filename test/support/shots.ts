/** Drawn films of several shots: each has its own picture, which moves; between them cuts, fades and dissolves. */
import type { Frame } from "../../src/video/frame.ts";

export interface DrawnShot {
  readonly frames: number;
  /** Decides its colours and shapes. */
  readonly seed: number;
  /** Pixels a frame that the picture moves by; 0 stands still. */
  readonly speed?: number;
  /** Frames over which it takes the place of the shot before, in both: a dissolve. */
  readonly dissolve?: number;
  /** Frames over which it comes out of black, and the shot before went into it. */
  readonly fade?: number;
}

export interface DrawnFilm {
  readonly frames: Frame[];
  /** First frames of shots but the first: of a dissolve its middle. */
  readonly cuts: number[];
}

/** A number from 0 to 1 that follows from its arguments. */
function noise(...of: number[]): number {
  let hash = 2166136261;
  for (const n of of) hash = Math.imul(hash ^ (n | 0), 16777619) ^ (hash >>> 13);
  return ((hash ^ (hash >>> 16)) >>> 0) / 2 ** 32;
}

/** Blotches of a few colours on a plane that is larger than the picture. */
function draw({ seed, speed = 1 }: DrawnShot, t: number, width: number, height: number): Uint8Array {
  const data = new Uint8Array(4 * width * height).fill(255);
  const angle = 6.28 * noise(seed, 1);
  const [dx, dy] = [speed * t * Math.cos(angle), speed * t * Math.sin(angle)];
  const colour = (which: number, channel: number): number => 20 + 215 * noise(seed, 2 + which, channel);
  const waves = Array.from({ length: 6 }, (_, i) => {
    const turn = 6.28 * noise(seed, 20, i);
    const long = (0.08 + 0.25 * noise(seed, 21, i)) * width;
    return { x: (6.28 * Math.cos(turn)) / long, y: (6.28 * Math.sin(turn)) / long, phase: 6.28 * noise(seed, 22, i) };
  });
  for (let y = 0, at = 0; y < height; y++)
    for (let x = 0; x < width; x++, at += 4) {
      const values = waves.map((wave) => Math.sin((x + dx) * wave.x + (y + dy) * wave.y + wave.phase));
      const a = 1 / (1 + Math.exp(-4 * (values[0]! + values[1]!)));
      const b = 1 / (1 + Math.exp(-4 * (values[2]! + values[3]! * values[4]!)));
      for (let channel = 0; channel < 3; channel++) {
        const mixed = (1 - a) * colour(0, channel) + a * ((1 - b) * colour(1, channel) + b * colour(2, channel));
        data[at + channel] = mixed + 6 * noise(x, y, t, seed);
      }
    }
  return data;
}

export function drawnFilm(shots: readonly DrawnShot[], { width = 96, height = 56 } = {}): DrawnFilm {
  const frames: Frame[] = [];
  const cuts: number[] = [];
  for (const shot of shots) {
    const { dissolve = 0, fade = 0 } = shot;
    const begin = frames.length;
    for (let t = 0; t < shot.frames; t++) {
      const data = draw(shot, t, width, height);
      if (t < dissolve && begin > 0) {
        const before = frames[begin - dissolve + t]!.data;
        const share = (t + 1) / (dissolve + 1);
        for (let i = 0; i < data.length; i++) data[i] = share * data[i]! + (1 - share) * before[i]!;
        frames[begin - dissolve + t] = { width, height, data };
      } else {
        if (t < fade) for (let i = 0; i < data.length; i++) if (i % 4 < 3) data[i] = (data[i]! * t) / fade;
        frames.push({ width, height, data });
      }
    }
    if (begin === 0) continue;
    cuts.push(dissolve ? begin - (dissolve >> 1) : begin);
    for (let back = 1; back <= fade; back++) {
      const { data } = frames[begin - back]!;
      for (let i = 0; i < data.length; i++) if (i % 4 < 3) data[i] = (data[i]! * (back - 1)) / fade;
    }
  }
  return { frames, cuts };
}
