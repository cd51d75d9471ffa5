/** A picture's activation in host memory, written and read by tiles. */
import type { Region } from "../../../graph/region.ts";

/** Planes (batch entries, frames, channels where they come first) of rows of positions. A plane's memory comes with the first write. */
export class HostPlanes {
  readonly planes: (Uint8Array<ArrayBuffer> | undefined)[];
  constructor(
    readonly height: number,
    readonly width: number,
    /** Bytes of one position. */
    readonly position: number,
    planes: number,
  ) {
    this.planes = Array.from({ length: planes });
  }

  get bytes(): number {
    return this.planes.length * this.height * this.width * this.position;
  }

  read({ top, bottom, left, right }: Region): Uint8Array<ArrayBuffer> {
    const row = (right - left) * this.position;
    const out = new Uint8Array(this.planes.length * (bottom - top) * row);
    let at = 0;
    for (const plane of this.planes)
      for (let h = top; h < bottom; h++, at += row) {
        const from = (h * this.width + left) * this.position;
        out.set(plane!.subarray(from, from + row), at);
      }
    return out;
  }

  /** Puts the part `owned` of a tile that covers `covered`. */
  write(tile: Uint8Array, covered: Region, owned: Region): void {
    const [rows, row] = [covered.bottom - covered.top, (covered.right - covered.left) * this.position];
    const length = (owned.right - owned.left) * this.position;
    for (let p = 0; p < this.planes.length; p++) {
      const plane = (this.planes[p] ??= new Uint8Array(this.height * this.width * this.position));
      for (let h = owned.top; h < owned.bottom; h++) {
        const from = (p * rows + h - covered.top) * row + (owned.left - covered.left) * this.position;
        plane.set(tile.subarray(from, from + length), (h * this.width + owned.left) * this.position);
      }
    }
  }
}
