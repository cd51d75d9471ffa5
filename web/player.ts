/** Frames on a canvas, in a loop. */
import type { RgbaFrame } from "../src/index.ts";

export class Player {
  readonly #context: CanvasRenderingContext2D;
  #frames: ImageData[] = [];
  #fps = 8;
  #began = 0;
  #shown = -1;
  #request = 0;
  paused = false;

  constructor(readonly canvas: HTMLCanvasElement) {
    this.#context = canvas.getContext("2d", { alpha: false })!;
  }

  show(frames: readonly RgbaFrame[], fps: number, label: string): void {
    const [first] = frames;
    if (!first) return;
    const { width, height } = first;
    if (this.canvas.width !== width || this.canvas.height !== height) {
      Object.assign(this.canvas, { width, height });
    }
    this.canvas.style.setProperty("--ratio", `${width} / ${height}`);
    this.canvas.setAttribute("aria-label", label);
    this.#frames = frames.map(({ data }) => new ImageData(new Uint8ClampedArray(data), width, height));
    this.#fps = fps;
    this.#began = performance.now();
    this.#shown = -1;
    cancelAnimationFrame(this.#request);
    this.#draw();
  }

  /** An empty screen. */
  clear(): void {
    cancelAnimationFrame(this.#request);
    this.#context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    this.canvas.setAttribute("aria-label", "No video");
  }

  #draw = (): void => {
    this.#request = requestAnimationFrame(this.#draw);
    if (this.paused && this.#shown >= 0) return;
    const frame = Math.floor(((performance.now() - this.#began) / 1000) * this.#fps) % this.#frames.length;
    if (frame === this.#shown) return;
    this.#shown = frame;
    this.#context.putImageData(this.#frames[frame]!, 0, 0);
  };
}
