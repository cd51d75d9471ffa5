/** What an animation is drawn on: each frame covers a part of it, over what the frames before left. */

/** A part of a canvas, with its pixels as RGBA where it has any. */
export interface FrameArea {
  x: number;
  y: number;
  width: number;
  height: number;
}

export interface Layer extends FrameArea {
  data: Uint8Array;
}

/** Puts the pixel at `from` of `source` over the one at `at` of the canvas. */
export type Blend = (canvas: Uint8Array, at: number, source: Uint8Array, from: number) => void;

/** Takes the place of what was there, its alpha too. */
export const replace: Blend = (canvas, at, source, from) => {
  canvas[at] = source[from]!;
  canvas[at + 1] = source[from + 1]!;
  canvas[at + 2] = source[from + 2]!;
  canvas[at + 3] = source[from + 3]!;
};

export class Canvas {
  readonly data: Uint8Array<ArrayBuffer>;
  private saved: Uint8Array<ArrayBuffer> | undefined;

  constructor(
    readonly width: number,
    readonly height: number,
  ) {
    this.data = new Uint8Array(4 * width * height);
  }

  /** Draws the part of `layer` that is inside. */
  draw(layer: Layer, blend: Blend): void {
    const { left, right, top, bottom } = this.inside(layer);
    for (let y = top; y < bottom; y++) {
      let at = 4 * (y * this.width + left);
      let from = 4 * ((y - layer.y) * layer.width + left - layer.x);
      for (let x = left; x < right; x++, at += 4, from += 4) blend(this.data, at, layer.data, from);
    }
  }

  /** Gives a region one colour: `[r, g, b, a]`. */
  fill(region: FrameArea, colour: ArrayLike<number>): void {
    const { left, right, top, bottom } = this.inside(region);
    if (left >= right) return;
    const pixels = new Uint32Array(this.data.buffer);
    const [value] = new Uint32Array(Uint8Array.from(colour).buffer);
    for (let y = top; y < bottom; y++) pixels.fill(value!, y * this.width + left, y * this.width + right);
  }

  /** Keeps everything as it is, for `restore`. */
  save(): void {
    this.saved ??= new Uint8Array(this.data.length);
    this.saved.set(this.data);
  }

  restore(): void {
    if (this.saved) this.data.set(this.saved);
  }

  private inside({ x, y, width, height }: FrameArea): { left: number; right: number; top: number; bottom: number } {
    return { left: Math.max(0, x), right: Math.min(this.width, x + width), top: Math.max(0, y), bottom: Math.min(this.height, y + height) };
  }
}

/**
 * For how long a frame is shown, in seconds. Files say 0 or a hundredth for "as fast as you can", which all browsers take for a tenth
 * of a second; so the file is as fast here as where its author looked at it.
 */
export function shownFor(seconds: number): number {
  return seconds > 0.0101 ? seconds : 0.1;
}
