/** A picture's activation in host memory or on a disk, written and read by tiles. */
import { openSpill } from "#platform";
import type { Region } from "../../../graph/region.ts";
import type { PictureSize } from "./cut.ts";

/** Where bytes lie. */
interface Bytes extends Disposable {
  read(at: number, into: Uint8Array): void;
  write(at: number, from: Uint8Array): void;
}

export const planesBytes = ({ height, width, position, planes }: PictureSize): number => planes * height * width * position;

/** Planes (batch entries, frames, channels where they come first) of rows of positions. */
export class HostPlanes implements Disposable {
  readonly height: number;
  readonly width: number;
  /** Bytes of one position. */
  readonly position: number;
  readonly planes: number;
  readonly bytes: number;

  private constructor(
    { height, width, position, planes }: PictureSize,
    private readonly held: Bytes,
    /** Does it lie on a disk? */
    readonly spilled: boolean,
  ) {
    [this.height, this.width, this.position, this.planes] = [height, width, position, planes];
    this.bytes = planesBytes(this);
  }

  static async create(size: PictureSize, spilled = false): Promise<HostPlanes> {
    const held = spilled ? await openSpill(planesBytes(size)) : inMemory(size.planes, size.height * size.width * size.position);
    return new HostPlanes(size, held, spilled);
  }

  read({ top, bottom, left, right }: Region): Uint8Array<ArrayBuffer> {
    const row = (right - left) * this.position;
    const out = new Uint8Array(this.planes * (bottom - top) * row);
    let at = 0;
    for (let p = 0; p < this.planes; p++)
      for (let h = top; h < bottom; h++, at += row) this.held.read(this.#place(p, h, left), out.subarray(at, at + row));
    return out;
  }

  /** Puts the part `owned` of a tile that covers `covered`. */
  write(tile: Uint8Array, covered: Region, owned: Region): void {
    const [rows, row] = [covered.bottom - covered.top, (covered.right - covered.left) * this.position];
    const length = (owned.right - owned.left) * this.position;
    for (let p = 0; p < this.planes; p++)
      for (let h = owned.top; h < owned.bottom; h++) {
        const from = (p * rows + h - covered.top) * row + (owned.left - covered.left) * this.position;
        this.held.write(this.#place(p, h, owned.left), tile.subarray(from, from + length));
      }
  }

  #place(plane: number, row: number, column: number): number {
    return ((plane * this.height + row) * this.width + column) * this.position;
  }

  /** Gives its memory back. */
  [Symbol.dispose](): void {
    this.held[Symbol.dispose]();
  }
}

/** A plane's memory comes with the first write; what is read or written lies in one plane. */
function inMemory(count: number, size: number): Bytes {
  const planes: (Uint8Array<ArrayBuffer> | undefined)[] = Array.from({ length: count });
  return {
    read(at, into) {
      const from = at % size;
      into.set(planes[Math.floor(at / size)]!.subarray(from, from + into.byteLength));
    },
    write(at, from) {
      const plane = Math.floor(at / size);
      (planes[plane] ??= new Uint8Array(size)).set(from, at % size);
    },
    [Symbol.dispose]: () => {
      planes.length = 0;
    },
  };
}
