/**
 * Decoded planes → RGBA, in the integers of FFmpeg's swscale (`accurate_rnd`, `full_chroma_int`), so that a film has the colours that
 * ffmpeg shows: chroma is brought to full size by a bicubic filter of 14 bits across and of 12 bits down, as if its samples lay in the
 * middle of the pixels that share them (whatever the stream says of that), and one matrix of 13 bits does the rest. After libswscale's
 * utils.c (`initFilter`), yuv2rgb.c and output.c (`yuv2rgb_full_X`). Weights and tables are made once for a film.
 */

/** Matrix coefficients by their numbers in ITU-T H.273: what a file says. */
export const MATRIX = { rgb: 0, bt709: 1, unspecified: 2, fcc: 4, bt470bg: 5, smpte170m: 6, smpte240m: 7, ycgco: 8, bt2020: 9 } as const;

/** Red from Cr, blue from Cb, green from Cb and from Cr, in 2⁻¹⁶, for limited range; swscale's table, by H.273's numbers. */
const INVERSES: Record<number, readonly [number, number, number, number]> = {
  1: [117489, 138438, 13975, 34925],
  4: [104448, 132798, 24759, 53109],
  5: [104597, 132201, 25675, 53279],
  6: [104597, 132201, 25675, 53279],
  7: [117579, 136230, 16907, 35559],
  9: [110013, 140363, 12277, 42626],
};

/** Whether planes of this matrix can be turned into RGB. */
export function knownMatrix(matrix: number): boolean {
  return matrix === MATRIX.rgb || matrix in INVERSES;
}

export interface YuvFormat {
  width: number;
  height: number;
  /** Bits a sample. */
  depth: number;
  /** How many luma samples one chroma sample stands for, across and down: 1 or 2; 0 where there is no chroma. */
  across: number;
  down: number;
  /** H.273's number; 0 for planes G, B, R. */
  matrix: number;
  fullRange: boolean;
}

/** A plane of a decoded picture: sample (x, y) is `data[offset + y * stride + x * step]`. */
export interface Plane {
  data: Uint8Array | Uint16Array;
  offset: number;
  stride: number;
  step: number;
}

export type ToRgba = (planes: readonly Plane[]) => Uint8Array<ArrayBuffer>;

/** What turns the planes of one film into RGBA. */
export function rgbaOf(format: YuvFormat): ToRgba {
  return format.matrix === MATRIX.rgb ? fromRgb(format) : fromYuv(format);
}

function fromRgb({ width, height, depth }: YuvFormat): ToRgba {
  const shift = depth - 8;
  const half = shift > 0 ? 1 << (shift - 1) : 0;
  return ([g, b, r]) => {
    const out = new Uint8ClampedArray(width * height * 4).fill(255);
    for (const [channel, plane] of [r!, g!, b!].entries()) {
      const { data, offset, stride, step } = plane;
      for (let y = 0, to = channel; y < height; y++) {
        for (let x = 0, from = offset + y * stride; x < width; x++, from += step, to += 4) out[to] = (data[from]! + half) >> shift;
      }
    }
    return new Uint8Array(out.buffer);
  };
}

function fromYuv(format: YuvFormat): ToRgba {
  const { width, height, depth, across, down } = format;
  const coefficients = tables(format);
  const horizontal = taps(Math.ceil(width / (across || 1)), width, across, 14);
  const vertical = taps(Math.ceil(height / (down || 1)), height, down, 12);
  const size = vertical.values.length / height;
  // Rows of chroma at full width, and which row each holds: no output row needs more of them than the filter is long.
  const held = Array.from({ length: size }, () => ({ row: -1, u: new Int32Array(width), v: new Int32Array(width) }));
  return ([luma, uPlane, vPlane]) => {
    const out = new Uint32Array(width * height);
    for (const slot of held) slot.row = -1;
    if (across === 0) {
      // Grey: chroma that is zero, 128 << 7 in 15 bits.
      for (const slot of held) slot.u.fill(1 << 14), slot.v.fill(1 << 14);
    }
    for (let y = 0; y < height; y++) {
      const first = vertical.first[y]!;
      for (let row = first; across !== 0 && row < first + size; row++) {
        const slot = held[row % size]!;
        if (slot.row === row) continue;
        slot.row = row;
        widen(uPlane!, row, horizontal, depth, slot.u);
        widen(vPlane!, row, horizontal, depth, slot.v);
      }
      const rows = held.map((_, tap) => held[(first + tap) % size]!);
      const weights = vertical.values.subarray(y * size, (y + 1) * size);
      const { data, offset, stride, step } = luma!;
      writeRow(out, y * width, width, data, offset + y * stride, step, rows, weights, coefficients);
    }
    return new Uint8Array(out.buffer);
  };
}

interface ChromaRow {
  u: Int32Array;
  v: Int32Array;
}

/** One row of pixels, of as many rows of chroma as there are weights: 1 or 4. */
function writeRow(
  out: Uint32Array,
  to: number,
  width: number,
  data: Uint8Array | Uint16Array,
  from: number,
  step: number,
  rows: readonly ChromaRow[],
  weights: Int32Array,
  { luma, redOfV, greenOfV, greenOfU, blueOfU }: Coefficients,
): void {
  const zero = (1 << 9) - (128 << 19);
  const most = 2 ** 30;
  const four = weights.length === 4;
  const [{ u: u0, v: v0 }, w0] = [rows[0]!, weights[0]!];
  const { u: u1, v: v1 } = rows[four ? 1 : 0]!;
  const { u: u2, v: v2 } = rows[four ? 2 : 0]!;
  const { u: u3, v: v3 } = rows[four ? 3 : 0]!;
  const [w1, w2, w3] = four ? [weights[1]!, weights[2]!, weights[3]!] : [0, 0, 0];
  for (let x = 0; x < width; x++, from += step) {
    const value = luma[data[from]!]!;
    const u = (zero + Math.imul(u0[x]!, w0) + Math.imul(u1[x]!, w1) + Math.imul(u2[x]!, w2) + Math.imul(u3[x]!, w3)) >> 10;
    const v = (zero + Math.imul(v0[x]!, w0) + Math.imul(v1[x]!, w1) + Math.imul(v2[x]!, w2) + Math.imul(v3[x]!, w3)) >> 10;
    // Sums may pass 2³¹: they are kept as floats, which hold them exactly.
    const r = value + v * redOfV;
    const g = value + v * greenOfV + u * greenOfU;
    const b = value + u * blueOfU;
    const red = r <= 0 ? 0 : r >= most ? 255 : r >> 22;
    const green = g <= 0 ? 0 : g >= most ? 255 : g >> 22;
    const blue = b <= 0 ? 0 : b >= most ? 255 : b >> 22;
    out[to++] = red | (green << 8) | (blue << 16) | OPAQUE; // every machine that runs this is little-endian
  }
}

const OPAQUE = 255 << 24;

interface Coefficients {
  luma: Float64Array;
  redOfV: number;
  greenOfV: number;
  greenOfU: number;
  blueOfU: number;
}

/** `ff_yuv2rgb_c_init_tables` at neutral brightness, contrast and saturation. The luma table has the rounding in it. */
function tables({ depth, matrix, fullRange }: YuvFormat): Coefficients {
  const [crv, cbu, cgu, cgv] = INVERSES[matrix]!.map((value) => (fullRange ? Math.trunc((value * 224) / 255) : value)) as [
    number,
    number,
    number,
    number,
  ];
  const scale = fullRange ? 65536 : Math.trunc((65536 * 255) / 219);
  const to13 = (value: number): number => Math.floor((value * 2 ** 13 + 2 ** 15) / 2 ** 16);
  const factor = to13(scale);
  const black = fullRange ? 0 : 16 << 9;
  const luma = Float64Array.from({ length: 2 ** depth }, (_, value) => (value * 2 ** (17 - depth) - black) * factor + 2 ** 21);
  return { luma, redOfV: to13(crv), greenOfV: to13(-cgv), greenOfU: to13(-cgu), blueOfU: to13(cbu) };
}

/** For each output sample the first input sample that it takes and the weights of one or of four of them, in 2⁻ᵇⁱᵗˢ. */
interface Taps {
  first: Int32Array;
  values: Int32Array;
}

/** `hScale8To15_c`, `hScale16To15_c`: one row of a plane at full width, in 15 bits. */
function widen({ data, offset, stride, step }: Plane, row: number, { first, values }: Taps, depth: number, out: Int32Array): void {
  const shift = depth - 1;
  const begin = offset + row * stride;
  if (values.length === out.length) {
    for (let x = 0; x < out.length; x++) out[x] = data[begin + x * step]! << (15 - depth);
    return;
  }
  for (let x = 0, k = 0; x < out.length; x++, k += 4) {
    const from = begin + first[x]! * step;
    const value =
      (Math.imul(data[from]!, values[k]!) +
        Math.imul(data[from + step]!, values[k + 1]!) +
        Math.imul(data[from + 2 * step]!, values[k + 2]!) +
        Math.imul(data[from + 3 * step]!, values[k + 3]!)) >>
      shift;
    out[x] = Math.min(value, 32767);
  }
}

/** `initFilter` for the bicubic kernel (B 0, C 0.6) enlarging `input` samples to `output`: nothing to do where `factor` is not 2. */
function taps(input: number, output: number, factor: number, bits: number): Taps {
  const one = 2 ** bits;
  if (factor !== 2)
    return { first: Int32Array.from({ length: output }, (_, i) => (factor === 0 ? 0 : i)), values: new Int32Array(output).fill(one) };
  const step = Math.floor((input * 65536 + (output >> 1)) / output) / 65536; // 16 bits: exactly a half for even sizes
  const result: Taps = { first: new Int32Array(output), values: new Int32Array(4 * output) };
  // Five samples count, and fewer where there are not two more than that.
  const length = Math.max(1, Math.min(5, input - 2));
  for (let i = 0; i < output; i++) {
    const centre = step / 2 - 0.5 + i * step;
    // A division that rounds towards zero: before the first sample they begin one too late.
    const left = Math.trunc(centre - (length - 2) / 2);
    // What would lie beyond an edge is taken from the sample at the edge. (Pictures of less than four samples have weights of nothing
    // behind their last.)
    const first = Math.max(0, Math.min(Math.floor(centre) - 1, input - 4));
    const exact = [0, 0, 0, 0];
    for (let k = left; k < left + length; k++) {
      const weight = bicubic(Math.abs(k - centre));
      if (weight === 0) continue; // of five samples one is too far away
      const at = Math.min(Math.max(k, 0), input - 1) - first;
      exact[at] = exact[at]! + weight;
    }
    const sum = exact.reduce((a, b) => a + b, 0);
    let error = 0;
    for (let k = 0; k < 4; k++) {
      const value = (exact[k]! / sum) * one + error;
      const whole = value < 0 ? -Math.round(-value) : Math.round(value);
      error = value - whole;
      result.values[4 * i + k] = whole;
    }
    result.first[i] = first;
  }
  return result;
}

function bicubic(d: number): number {
  if (d < 1) return (8.4 * d ** 3 - 14.4 * d ** 2 + 6) / 6;
  if (d < 2) return (-3.6 * d ** 3 + 18 * d ** 2 - 28.8 * d + 14.4) / 6;
  return 0;
}
