/** Inflated PNG data → pixels: rows with a filter each, in one pass or in the seven of Adam7, of any depth and kind of colour. */

export interface PngHeader {
  width: number;
  height: number;
  /** Bits a sample: 1, 2, 4, 8 or 16. */
  depth: number;
  colour: "grey" | "rgb" | "palette" | "grey and alpha" | "rgb and alpha";
  interlaced: boolean;
}

export const SAMPLES = { grey: 1, rgb: 3, palette: 1, "grey and alpha": 2, "rgb and alpha": 4 } as const;

/** Where the pixels of a pass lie: its first column and row, and the steps between them. */
const ADAM7 = [
  [0, 0, 8, 8],
  [4, 0, 8, 8],
  [0, 4, 4, 8],
  [2, 0, 4, 4],
  [0, 2, 2, 4],
  [1, 0, 2, 2],
  [0, 1, 1, 2],
] as const;
const ONE_PASS = [[0, 0, 1, 1]] as const;

interface Pass {
  x: number;
  y: number;
  across: number;
  down: number;
  columns: number;
  rows: number;
}

/**
 * Takes inflated bytes in pieces of any length, and makes RGBA of them. It holds two rows
 * besides the picture, whatever there is to come.
 */
export class PngPixels {
  /** RGBA. */
  readonly data: Uint8Array<ArrayBuffer>;
  private readonly passes: Pass[];
  private pass = 0;
  private row = 0;
  /** The filter's number and a row of samples, and how much of it is there. */
  private current = new Uint8Array(0);
  private above = new Uint8Array(0);
  private filled = 0;

  /**
   * @param palette three bytes a colour
   * @param alphas of the palette's colours, where they have any
   * @param key the samples that stand for "transparent", of a picture without alpha
   */
  constructor(
    private readonly header: PngHeader,
    private readonly palette: Uint8Array,
    private readonly alphas: Uint8Array,
    private readonly key: readonly number[] | undefined,
  ) {
    const { width, height } = header;
    this.data = new Uint8Array(4 * width * height);
    this.passes = (header.interlaced ? ADAM7 : ONE_PASS)
      .map(([x, y, across, down]) => ({
        x,
        y,
        across,
        down,
        columns: Math.ceil((width - x) / across),
        rows: Math.ceil((height - y) / down),
      }))
      .filter(({ columns, rows }) => columns > 0 && rows > 0);
    this.begin();
  }

  get done(): boolean {
    return this.pass === this.passes.length;
  }

  /** Says whether more is wanted. Throws where a row has a filter that there is not. */
  take(bytes: Uint8Array): boolean {
    for (let at = 0; at < bytes.length && !this.done; ) {
      const count = Math.min(bytes.length - at, this.current.length - this.filled);
      this.current.set(bytes.subarray(at, at + count), this.filled);
      this.filled += count;
      at += count;
      if (this.filled < this.current.length) break;
      this.unfilter();
      this.unpack();
      [this.current, this.above] = [this.above, this.current];
      this.filled = 0;
      if (++this.row === this.passes[this.pass]!.rows) {
        this.pass++;
        this.begin();
      }
    }
    return !this.done;
  }

  private begin(): void {
    if (this.done) return;
    const { depth, colour } = this.header;
    const length = 1 + Math.ceil((this.passes[this.pass]!.columns * SAMPLES[colour] * depth) / 8);
    this.current = new Uint8Array(length);
    this.above = new Uint8Array(length);
    this.row = 0;
  }

  private unfilter(): void {
    const { current: row, above, header } = this;
    const back = Math.max(1, (SAMPLES[header.colour] * header.depth) / 8);
    const start = Math.min(1 + back, row.length); // before it nothing is to the left
    switch (row[0]) {
      case 0:
        return;
      case 1:
        for (let at = start; at < row.length; at++) row[at] = row[at]! + row[at - back]!;
        return;
      case 2:
        for (let at = 1; at < row.length; at++) row[at] = row[at]! + above[at]!;
        return;
      case 3:
        for (let at = 1; at < start; at++) row[at] = row[at]! + (above[at]! >> 1);
        for (let at = start; at < row.length; at++) row[at] = row[at]! + ((row[at - back]! + above[at]!) >> 1);
        return;
      case 4:
        for (let at = 1; at < start; at++) row[at] = row[at]! + above[at]!;
        for (let at = start; at < row.length; at++) row[at] = row[at]! + paeth(row[at - back]!, above[at]!, above[at - back]!);
        return;
      default:
        throw new Error(`a row with filter ${row[0]}, of which there are 0 to 4`);
    }
  }

  /** The row's pixels, to where they lie in the picture. */
  private unpack(): void {
    const { depth, colour } = this.header;
    if (colour === "palette" || depth < 8) this.unpackSmall();
    else this.unpackBytes();
  }

  /** One sample a pixel of at most eight bits: palette indices, and grey that is spread over the range. */
  private unpackSmall(): void {
    const { current: row, header, data, palette, alphas, key } = this;
    const { depth } = header;
    const { x, y, across, down, columns } = this.passes[this.pass]!;
    const most = 2 ** depth - 1;
    for (let column = 0, at = 4 * ((y + this.row * down) * header.width + x); column < columns; column++, at += 4 * across) {
      const value = (row[1 + ((column * depth) >> 3)]! >> (8 - depth - ((column * depth) & 7))) & most;
      if (header.colour === "palette") {
        data[at] = palette[3 * value] ?? 0;
        data[at + 1] = palette[3 * value + 1] ?? 0;
        data[at + 2] = palette[3 * value + 2] ?? 0;
        data[at + 3] = alphas[value] ?? 255;
      } else {
        data[at] = data[at + 1] = data[at + 2] = (255 * value) / most;
        data[at + 3] = value === key?.[0] ? 0 : 255;
      }
    }
  }

  /** Samples of whole bytes; of 16 bits the upper eight are taken, as Pillow does. */
  private unpackBytes(): void {
    const { current: row, header, data } = this;
    const { x, y, across, down, columns } = this.passes[this.pass]!;
    const samples = SAMPLES[header.colour];
    const bytes = header.depth / 8;
    const [green, blue] = samples < 3 ? [0, 0] : [bytes, 2 * bytes];
    const alpha = samples % 2 ? -1 : (samples - 1) * bytes;
    for (
      let column = 0, from = 1, at = 4 * ((y + this.row * down) * header.width + x);
      column < columns;
      column++, at += 4 * across, from += samples * bytes
    ) {
      data[at] = row[from]!;
      data[at + 1] = row[from + green]!;
      data[at + 2] = row[from + blue]!;
      data[at + 3] = alpha >= 0 ? row[from + alpha]! : this.key && this.isKey(from) ? 0 : 255;
    }
  }

  /** Whether the pixel whose samples begin at `from` is the transparent one. */
  private isKey(from: number): boolean {
    const { current: row, header } = this;
    return this.key!.every(
      (sample, index) => sample === (header.depth === 8 ? row[from + index]! : (row[from + 2 * index]! << 8) | row[from + 2 * index + 1]!),
    );
  }
}

/** The neighbour that is nearest to left + above − corner. */
function paeth(left: number, above: number, corner: number): number {
  const byLeft = Math.abs(above - corner);
  const byAbove = Math.abs(left - corner);
  const byCorner = Math.abs(left + above - 2 * corner);
  return byLeft <= byAbove && byLeft <= byCorner ? left : byAbove <= byCorner ? above : corner;
}
