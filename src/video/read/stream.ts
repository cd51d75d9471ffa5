/**
 * What the stream itself says of its pictures, whatever its container says: how chroma is halved, bits a sample, colours, pixel aspect.
 * Needed because decoders do not tell all of it: the one for Node takes every format that it has no name for (grey, G B R, 4:4:0)
 * for 4:2:0, and no decoder names the matrices of FCC, SMPTE 240M or YCgCo.
 */
import { Bits } from "./bits.ts";
import { nalUnits, spsOf } from "./sps.ts";
import type { StreamFormat } from "./stream-format.ts";

/**
 * A header of which the size is known, with the bits in which an odd one differs from the next even
 * one: the lowest of width − 1 and of height − 1.
 */
interface Sized {
  format: StreamFormat;
  lowest: { column: number; row: number };
}

/**
 * `description` is the decoder's configuration (avcC, hvcC, av1C), `packet` the first that is a key frame. `undefined` where nothing is
 * known of the codec or its header makes no sense.
 */
export function streamFormat(codec: string, description: Uint8Array | undefined, packet: Uint8Array): StreamFormat | undefined {
  if (codec === "avc" || codec === "hevc") {
    // What comes last holds.
    const units = nalUnits(codec, description, packet);
    const format = units.map(({ data }) => spsOf(codec, data)).findLast((sps) => sps !== undefined)?.format;
    // FFmpeg takes HEVC's silence for an answer: what a container says of its colours does not hold.
    return format && codec === "hevc"
      ? { ...format, matrix: format.matrix ?? 2, transfer: format.transfer ?? 2, fullRange: format.fullRange ?? false }
      : format;
  }
  if (codec === "vp8") return vp8(packet);
  if (codec === "vp9") return vp9(packet)?.format;
  if (codec === "av1") return (av1(packet) ?? (description && av1(description.subarray(4))))?.format;
  return undefined;
}

/**
 * The packet with its odd size made even, or itself: the decoder for Node leaves out the last chroma samples of odd sizes. The blocks
 * of the codecs reach beyond the edge, so that the pixels there are decoded anyway; what is not wanted of them is cut off again.
 */
export function evened(codec: string, packet: Uint8Array): Uint8Array {
  const half = streamFormat(codec, undefined, packet)?.half;
  if (!half?.column && !half?.row) return packet;
  const out = Uint8Array.from(packet);
  if (codec === "vp8") {
    for (const [at, odd] of [
      [6, half.column],
      [8, half.row],
    ] as const) {
      const size = out[at]! + 256 * out[at + 1]! + (odd ? 1 : 0);
      [out[at], out[at + 1]] = [size & 255, size >> 8];
    }
    return out;
  }
  const { lowest } = (codec === "vp9" ? vp9 : av1)(packet)!;
  for (const [at, odd] of [
    [lowest.column, half.column],
    [lowest.row, half.row],
  ] as const)
    if (odd) out[at >> 3] = out[at >> 3]! | (0x80 >> (at & 7));
  return out;
}

const halfOf = (across: number, down: number, width: number, height: number): { half: { column: boolean; row: boolean } } => ({
  half: { column: across === 2 && width % 2 === 1, row: down === 2 && height % 2 === 1 },
});

/** The header of a key frame of VP8. Its colours are BT.601's. */
function vp8(packet: Uint8Array): StreamFormat {
  const format: StreamFormat = { across: 2, down: 2, depth: 8, matrix: 5, transfer: undefined, fullRange: false };
  const key = packet.length >= 10 && (packet[0]! & 1) === 0 && packet[3] === 0x9d && packet[4] === 1 && packet[5] === 0x2a;
  return key ? { ...format, ...halfOf(2, 2, packet[6]!, packet[8]!) } : format;
}

/** The uncompressed header of a key frame of VP9. */
function vp9(packet: Uint8Array): Sized | undefined {
  const bits = new Bits(packet);
  if (bits.read(2) !== 2) return undefined;
  const profile = bits.read(1) + 2 * bits.read(1);
  if (profile === 3) bits.skip(1);
  if (bits.flag() || bits.flag()) return undefined; // a frame shown again, or not a key frame
  bits.skip(2);
  if (bits.read(24) !== 0x498342) return undefined;
  const depth = profile < 2 ? 8 : bits.flag() ? 12 : 10;
  // bt601, bt709, smpte170, smpte240, bt2020, reserved, srgb by H.273's numbers
  const matrix = [2, 5, 1, 6, 7, 9, 2, 0][bits.read(3)]!;
  const fullRange = matrix === 0 || bits.flag();
  const across = profile % 2 === 0 || (matrix !== 0 && bits.flag()) ? 2 : 1;
  const down = profile % 2 === 0 || (matrix !== 0 && bits.flag()) ? 2 : 1;
  if (profile % 2 === 1) bits.skip(1);
  const lowest = { column: bits.at + 15, row: bits.at + 31 };
  const [width, height] = [bits.read(16) + 1, bits.read(16) + 1];
  return bits.ended
    ? undefined
    : { format: { across, down, depth, matrix, transfer: undefined, fullRange, ...halfOf(across, down, width, height) }, lowest };
}

/** The sequence header among AV1's open bitstream units. */
function av1(units: Uint8Array): Sized | undefined {
  for (let at = 0; at < units.length; ) {
    const header = units[at]!;
    const type = (header >> 3) & 15;
    let start = at + (header & 4 ? 2 : 1);
    let size = units.length - start;
    if (header & 2) {
      size = 0;
      for (let shift = 0; shift < 35; shift += 7) {
        const byte = units[start++] ?? 0;
        size += (byte & 127) * 2 ** shift;
        if (byte < 128) break;
      }
    }
    if (type === 1) {
      const found = av1Sequence(new Bits(units.subarray(start, start + size)));
      return found && { ...found, lowest: { column: 8 * start + found.lowest.column, row: 8 * start + found.lowest.row } };
    }
    at = start + size;
  }
  return undefined;
}

function av1Sequence(bits: Bits): Sized | undefined {
  const profile = bits.read(3);
  bits.skip(1);
  const reduced = bits.flag();
  if (reduced) bits.skip(5);
  else av1Timing(bits);
  const [widthBits, heightBits] = [bits.read(4) + 1, bits.read(4) + 1];
  const lowest = { column: bits.at + widthBits - 1, row: bits.at + widthBits + heightBits - 1 };
  const [width, height] = [bits.read(widthBits) + 1, bits.read(heightBits) + 1];
  if (!reduced && bits.flag()) bits.skip(7);
  bits.skip(3);
  if (!reduced) {
    bits.skip(4);
    const order = bits.flag();
    if (order) bits.skip(2);
    const screen = bits.flag() ? 2 : bits.read(1);
    if (screen > 0 && !bits.flag()) bits.skip(1);
    if (order) bits.skip(3);
  }
  bits.skip(3);
  const high = bits.flag();
  const depth = !high ? 8 : profile === 2 && bits.flag() ? 12 : 10;
  const grey = profile !== 1 && bits.flag();
  const described = bits.flag();
  const [primaries, transfer, matrix] = described ? [bits.read(8), bits.read(8), bits.read(8)] : [2, 2, 2];
  const result = (across: 0 | 1 | 2, down: 0 | 1 | 2, fullRange: boolean): Sized => ({
    format: { ...format, across, down, fullRange, ...halfOf(across, down, width, height) },
    lowest,
  });
  const format = { depth, matrix: matrix === 2 ? undefined : matrix, transfer: transfer === 2 ? undefined : transfer };
  if (bits.ended) return undefined;
  if (grey) return result(0, 0, bits.flag());
  if (primaries === 1 && transfer === 13 && matrix === 0) return result(1, 1, true);
  const fullRange = bits.flag();
  const across = profile === 0 || (profile === 2 && (depth < 12 || bits.flag())) ? 2 : 1;
  const down = profile === 0 || (profile === 2 && depth === 12 && across === 2 && bits.flag()) ? 2 : 1;
  return result(across, down, fullRange);
}

/** Timing and operating points: nothing of it is needed. */
function av1Timing(bits: Bits): void {
  let delayBits = 0;
  let decoderModel = false;
  if (bits.flag()) {
    bits.skip(64);
    if (bits.flag()) bits.unsigned();
    decoderModel = bits.flag();
    if (decoderModel) {
      delayBits = bits.read(5) + 1;
      bits.skip(42);
    }
  }
  const initialDelay = bits.flag();
  for (let points = bits.read(5) + 1; points > 0; points--) {
    bits.skip(12);
    if (bits.read(5) > 7) bits.skip(1);
    if (decoderModel && bits.flag()) bits.skip(2 * delayBits + 1);
    if (initialDelay && bits.flag()) bits.skip(4);
  }
}
