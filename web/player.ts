/** Frames on a canvas, in a loop: of one video, of several in a grid, or of two with a line between them. */
import type { RgbaFrame } from "../src/index.ts";

/** A video's frames, and where its pixels go: from a part of it to a part of the canvas, in shares of each one's size. */
interface Layer {
  frames: ImageData[];
  from: Area;
  to: Area;
}
type Area = readonly [x: number, y: number, width: number, height: number];
const WHOLE: Area = [0, 0, 1, 1];
/** A pair is drawn at least so wide, in whole pixels for each of a small video, so that the line between the two can be thin. */
const PAIR_WIDTH = 640;
/** Widths of a gap between videos of a grid that are as wide as a video. */
const GAP = 32;

const imagesOf = (frames: readonly RgbaFrame[]): ImageData[] =>
  frames.map(({ width, height, data }) => new ImageData(new Uint8ClampedArray(data), width, height));

export class Player {
  readonly #context: CanvasRenderingContext2D;
  readonly #scratch = document.createElement("canvas").getContext("2d", { alpha: false })!;
  #layers: Layer[] = [];
  #count = 0;
  #fps = 8;
  #began = 0;
  #shown = -1;
  #request = 0;
  /** Of two videos, where the line between them is, as a share of the width. */
  #line: number | undefined;
  paused = false;

  constructor(readonly canvas: HTMLCanvasElement) {
    this.#context = canvas.getContext("2d", { alpha: false })!;
  }

  /** @param soft as a blur in place of pixels: for what is not there yet */
  show(frames: readonly RgbaFrame[], fps: number, label: string, soft = false): void {
    this.#play([{ frames: imagesOf(frames), from: WHOLE, to: WHOLE }], fps, label, { soft });
  }

  /** Several videos of one size, row by row, in as many columns as rows or one more, with room between them. */
  grid(videos: readonly (readonly RgbaFrame[])[], fps: number, label: string): void {
    const columns = Math.ceil(Math.sqrt(videos.length));
    const rows = Math.ceil(videos.length / columns);
    const { width, height } = videos[0]![0]!;
    const gap = Math.ceil(width / GAP);
    const [across, down] = [columns * (width + gap) - gap, rows * (height + gap) - gap];
    const layers = videos.map((frames, i): Layer => {
      const [x, y] = [(i % columns) * (width + gap), Math.floor(i / columns) * (height + gap)];
      return { frames: imagesOf(frames), from: WHOLE, to: [x / across, y / down, width / across, height / down] };
    });
    this.#play(layers, fps, label, { size: [across, down] });
  }

  /** Two videos, the second one to the right of the line (see `split`) and as large as the first. */
  pair(left: readonly RgbaFrame[], right: readonly RgbaFrame[], fps: number, label: string): void {
    const { width, height } = left[0]!;
    const times = Math.ceil(PAIR_WIDTH / width);
    this.#play(
      [left, right].map((frames): Layer => ({ frames: imagesOf(frames), from: WHOLE, to: WHOLE })),
      fps,
      label,
      { size: [times * width, times * height] },
    );
    this.#line = 0.5;
    this.split(0.5);
  }

  /** Where the line between two videos is, as a share of the width. */
  split(at: number): void {
    const [, right] = this.#layers;
    if (!right || this.#line === undefined) return;
    this.#line = at;
    right.from = right.to = [at, 0, 1 - at, 1];
    this.#paint(Math.max(0, this.#shown));
  }

  /** @param size of the canvas; that of the first video where it is not said */
  #play(layers: Layer[], fps: number, label: string, { size, soft = false }: { size?: [number, number]; soft?: boolean } = {}): void {
    const first = layers[0]?.frames[0];
    if (!first) return;
    const [width, height] = size ?? [first.width, first.height];
    if (this.canvas.width !== width || this.canvas.height !== height) Object.assign(this.canvas, { width, height });
    // A grid with an empty place shows there nothing of what was before.
    this.#context.clearRect(0, 0, width, height);
    this.canvas.style.setProperty("--ratio", `${width} / ${height}`);
    this.canvas.setAttribute("aria-label", label);
    this.canvas.classList.toggle("soft", soft);
    this.#layers = layers;
    this.#line = undefined;
    this.#count = Math.max(...layers.map(({ frames }) => frames.length));
    this.#fps = fps;
    this.#began = performance.now();
    this.#shown = -1;
    cancelAnimationFrame(this.#request);
    this.#draw();
  }

  #draw = (): void => {
    this.#request = requestAnimationFrame(this.#draw);
    if (this.paused && this.#shown >= 0) return;
    const frame = Math.floor(((performance.now() - this.#began) / 1000) * this.#fps) % this.#count;
    if (frame !== this.#shown) this.#paint(frame);
  };

  #paint(frame: number): void {
    this.#shown = frame;
    const { width: w, height: h } = this.canvas;
    for (const { frames, from, to } of this.#layers) {
      const image = frames[frame % frames.length]!;
      const { width, height } = image;
      if (from === WHOLE && to === WHOLE && width === w && height === h) {
        this.#context.putImageData(image, 0, 0);
        continue;
      }
      const { canvas } = this.#scratch;
      if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
      this.#scratch.putImageData(image, 0, 0);
      // What a line cuts may be cut within a pixel.
      const whole = this.#line === undefined ? Math.round : Number;
      const part = ([x, y, across, down]: Area, width: number, height: number): [number, number, number, number] => [
        whole(x * width),
        whole(y * height),
        whole(across * width),
        whole(down * height),
      ];
      if (from[2] * width < 0.5) continue;
      this.#context.imageSmoothingEnabled = this.#line === undefined;
      this.#context.drawImage(canvas, ...part(from, width, height), ...part(to, w, h));
    }
    if (this.#line !== undefined) this.#drawLine(this.#line * w, w, h);
  }

  /** White with dark edges, to be seen on any picture. */
  #drawLine(x: number, w: number, h: number): void {
    const unit = w / PAIR_WIDTH;
    for (const [style, wide] of [
      ["#000a", 4],
      ["#fff", 2],
    ] as const) {
      this.#context.fillStyle = style;
      this.#context.fillRect(Math.round(Math.min(w - wide * unit, Math.max(0, x - (wide * unit) / 2))), 0, Math.round(wide * unit), h);
    }
  }
}
