/**
 * Sequence parameter sets of H.264 and HEVC: what they say of the pictures, and a copy of them that is silent about RGB and full range.
 * FFmpeg gives planes G B R, and full range in 4:2:2 and 4:4:4, formats of their own, which the decoder for Node has no name for and
 * takes for 4:2:0; without those words in the stream they are planes as any others, and how they are read is known here.
 * ITU-T H.264 (7.3.2.1.1, E.1.1) and H.265 (7.3.2.2, E.2.1).
 */
import { joined } from "../../base/joined.ts";
import { Bits } from "./bits.ts";
import type { StreamFormat } from "./stream-format.ts";

type Codec = "avc" | "hevc";

export interface Sps {
  format: StreamFormat;
  /** Where the bit of the range and the 8 bits of the matrix are in the unescaped unit. */
  rangeAt: number | undefined;
  matrixAt: number | undefined;
}

/** Aspects by `aspect_ratio_idc`. */
const ASPECTS: readonly (readonly [number, number])[] = [
  [0, 0],
  [1, 1],
  [12, 11],
  [10, 11],
  [16, 11],
  [40, 33],
  [24, 11],
  [20, 11],
  [32, 11],
  [80, 33],
  [18, 11],
  [15, 11],
  [64, 33],
  [160, 99],
  [4, 3],
  [3, 2],
  [2, 1],
];

interface Unit {
  data: Uint8Array;
  /** Where the unit begins in what it was taken from. */
  offset: number;
}

const isSps = (codec: Codec, first: number): boolean => (codec === "avc" ? (first & 31) === 7 : ((first >> 1) & 63) === 33);

/** The parameter sets of a configuration (avcC, hvcC), then those of a packet. */
export function nalUnits(codec: Codec, description: Uint8Array | undefined, packet: Uint8Array): Unit[] {
  const units = description ? configuredSps(codec, description) : [];
  return [...units, ...packetSps(codec, description, packet)];
}

function configuredSps(codec: Codec, bytes: Uint8Array): Unit[] {
  const units: Unit[] = [];
  const u16 = (at: number): number => (bytes[at] ?? 0) * 256 + (bytes[at + 1] ?? 0);
  const take = (at: number): number => {
    const length = u16(at);
    units.push({ data: bytes.subarray(at + 2, at + 2 + length), offset: at + 2 });
    return at + 2 + length;
  };
  if (codec === "avc") {
    for (let left = (bytes[5] ?? 0) & 31, at = 6; left > 0 && at < bytes.length; left--) at = take(at);
  } else {
    for (let arrays = bytes[22] ?? 0, at = 23; arrays > 0 && at < bytes.length; arrays--) {
      const left = u16(at + 1);
      at += 3;
      for (let i = 0; i < left && at < bytes.length; i++) at = take(at);
    }
  }
  return units.filter(({ data }) => data.length > 2 && isSps(codec, data[0]!));
}

function packetSps(codec: Codec, description: Uint8Array | undefined, packet: Uint8Array): Unit[] {
  return packetUnits(codec, description, packet).filter(({ data }) => data.length > 2 && isSps(codec, data[0]!));
}

/**
 * Tells which pictures of H.264 and HEVC no player shows, of packets in the order of decoding: those that are shown before a key frame
 * but refer to what came before it, where decoding begins with that key frame or, as HEVC says of them (RASL), where something else
 * came before it.
 */
export class LeadingPictures {
  #begins = true;
  #skipping = true;
  /** When H.264's first picture is shown, where it is no IDR: such refer to nothing before them. */
  #shown = -Infinity;

  constructor(readonly codec: Codec) {}

  skips(description: Uint8Array | undefined, packet: Uint8Array, timestamp: number): boolean {
    if (this.codec === "hevc") return this.#skipsHevc(description, packet);
    if (this.#begins && !packetUnits("avc", description, packet).some(({ data }) => (data[0]! & 31) === 5)) this.#shown = timestamp;
    this.#begins = false;
    return timestamp < this.#shown;
  }

  #skipsHevc(description: Uint8Array | undefined, packet: Uint8Array): boolean {
    let [key, leading] = [false, false];
    for (const { data } of packetUnits("hevc", description, packet)) {
      const type = (data[0]! >> 1) & 63;
      if (type === 36 || type === 37)
        this.#begins = true; // the end of a sequence
      else if (type === 8 || type === 9) leading = true;
      else if (type >= 16 && type <= 23 && !key) {
        key = true;
        this.#skipping = this.#begins || type <= 18; // up to 18: a broken link
        this.#begins = false;
      }
    }
    return leading && this.#skipping;
  }
}

/** Units of a packet: each behind its length, or, without a configuration, behind a start code. */
function packetUnits(codec: Codec, description: Uint8Array | undefined, packet: Uint8Array): Unit[] {
  const units: Unit[] = [];
  const add = (start: number, end: number): void => {
    if (end > start) units.push({ data: packet.subarray(start, end), offset: start });
  };
  if (description) {
    const size = 1 + ((description[codec === "avc" ? 4 : 21] ?? 3) & 3);
    for (let at = 0; at + size <= packet.length; ) {
      let length = 0;
      for (let i = 0; i < size; i++) length = length * 256 + packet[at + i]!;
      add(at + size, Math.min(packet.length, at + size + length));
      at += size + length;
    }
    return units;
  }
  let start = -1;
  for (let at = 0; at + 3 <= packet.length; at++) {
    if (packet[at] !== 0 || packet[at + 1] !== 0 || packet[at + 2] !== 1) continue;
    if (start >= 0) add(start, at);
    start = at + 3;
  }
  if (start >= 0) add(start, packet.length);
  return units;
}

/** Reads a parameter set; `undefined` where it makes no sense. */
export function spsOf(codec: Codec, unit: Uint8Array): Sps | undefined {
  const bits = new Bits(unescaped(unit));
  const sps = codec === "avc" ? avcSps(bits) : hevcSps(bits);
  return bits.ended || sps.format.depth > 16 ? undefined : sps;
}

function avcSps(bits: Bits): Sps {
  bits.skip(8);
  const profile = bits.read(8);
  bits.skip(16);
  bits.unsigned();
  let chroma = 1;
  let depth = 8;
  if ([100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135].includes(profile)) {
    chroma = bits.unsigned();
    if (chroma === 3) bits.skip(1);
    depth = 8 + bits.unsigned();
    bits.unsigned();
    bits.skip(1);
    const lists = !bits.flag() ? 0 : chroma === 3 ? 12 : 8;
    for (let list = 0; list < lists; list++) if (bits.flag()) avcScalingList(bits, list < 6 ? 16 : 64);
  }
  bits.unsigned();
  const order = bits.unsigned();
  if (order === 0) bits.unsigned();
  if (order === 1) {
    bits.skip(1);
    bits.signed();
    bits.signed();
    for (let left = Math.min(255, bits.unsigned()); left > 0; left--) bits.signed();
  }
  bits.unsigned();
  bits.skip(1);
  bits.unsigned();
  bits.unsigned();
  if (!bits.flag()) bits.skip(1);
  bits.skip(1);
  if (bits.flag()) for (let i = 0; i < 4; i++) bits.unsigned();
  return usability(bits, chroma, depth);
}

function avcScalingList(bits: Bits, size: number): void {
  for (let i = 0, last = 8, next = 8; i < size && !bits.ended; i++) {
    if (next !== 0) next = (last + bits.signed() + 256) & 255;
    if (next !== 0) last = next;
  }
}

function hevcSps(bits: Bits): Sps {
  bits.skip(20);
  const sublayers = bits.read(3);
  bits.skip(1 + 96);
  const flags = Array.from({ length: sublayers === 0 ? 0 : 8 }, (_, i) =>
    i < sublayers ? [bits.flag(), bits.flag()] : (bits.skip(2), [false, false]),
  );
  for (const [profile, level] of flags) bits.skip((profile ? 88 : 0) + (level ? 8 : 0));
  bits.unsigned();
  const chroma = bits.unsigned();
  if (chroma === 3) bits.skip(1);
  bits.unsigned();
  bits.unsigned();
  if (bits.flag()) for (let i = 0; i < 4; i++) bits.unsigned();
  const depth = 8 + bits.unsigned();
  bits.unsigned();
  const orderBits = bits.unsigned() + 4;
  for (let i = bits.flag() ? 0 : sublayers; i <= sublayers; i++) for (let k = 0; k < 3; k++) bits.unsigned();
  for (let i = 0; i < 6; i++) bits.unsigned();
  if (bits.flag() && bits.flag()) hevcScalingLists(bits);
  bits.skip(2);
  if (bits.flag()) {
    bits.skip(8);
    bits.unsigned();
    bits.unsigned();
    bits.skip(1);
  }
  hevcReferences(bits);
  if (bits.flag()) for (let left = Math.min(32, bits.unsigned()); left > 0; left--) bits.skip(Math.min(16, orderBits) + 1);
  bits.skip(2);
  return usability(bits, chroma, depth);
}

function hevcScalingLists(bits: Bits): void {
  for (let size = 0; size < 4; size++) {
    for (let matrix = 0; matrix < 6; matrix += size === 3 ? 3 : 1) {
      if (!bits.flag()) bits.unsigned();
      else for (let left = Math.min(64, 1 << (4 + 2 * size)) + (size > 1 ? 1 : 0); left > 0; left--) bits.signed();
    }
  }
}

function hevcReferences(bits: Bits): void {
  let before = 0;
  for (let sets = Math.min(64, bits.unsigned()), set = 0; set < sets && !bits.ended; set++) {
    let pictures = 0;
    if (set > 0 && bits.flag()) {
      bits.skip(1);
      bits.unsigned();
      for (let i = 0; i <= before; i++) if (bits.flag() || bits.flag()) pictures++;
    } else {
      pictures = Math.min(16, bits.unsigned()) + Math.min(16, bits.unsigned());
      for (let i = 0; i < pictures; i++) bits.unsigned(), bits.skip(1);
    }
    before = pictures;
  }
}

/** The beginning of the video usability information, which both have in common, behind the flag that it is there. */
function usability(bits: Bits, chroma: number, depth: number): Sps {
  const across = chroma === 0 ? 0 : chroma === 3 ? 1 : 2;
  const down = chroma === 0 ? 0 : chroma === 1 ? 2 : 1;
  const sps: Sps = {
    format: { across, down, depth, matrix: undefined, transfer: undefined, fullRange: undefined },
    rangeAt: undefined,
    matrixAt: undefined,
  };
  if (!bits.flag()) return sps;
  if (bits.flag()) {
    const index = bits.read(8);
    const [num, den] = index === 255 ? [bits.read(16), bits.read(16)] : (ASPECTS[index] ?? [0, 0]);
    if (num > 0 && den > 0) sps.format.aspect = { num, den };
  }
  if (bits.flag()) bits.skip(1);
  if (bits.flag()) {
    bits.skip(3);
    sps.rangeAt = bits.at;
    sps.format.fullRange = bits.flag();
    if (bits.flag()) {
      bits.skip(8);
      sps.format.transfer = bits.read(8);
      sps.matrixAt = bits.at;
      sps.format.matrix = bits.read(8);
    }
  }
  return sps;
}

/**
 * The same bytes with every matrix of RGB called unknown and every range limited, or the bytes themselves where
 * they are: a configuration, or a packet behind it.
 */
export function neutral(codec: Codec, description: Uint8Array | undefined, packet?: Uint8Array): Uint8Array | undefined {
  const bytes = packet ?? description;
  if (!bytes) return undefined;
  const lengthBytes = !packet ? 2 : description ? 1 + ((description[codec === "avc" ? 4 : 21] ?? 3) & 3) : 0;
  const parts: Uint8Array[] = [];
  let from = 0;
  for (const { data, offset } of packet ? packetSps(codec, description, packet) : configuredSps(codec, bytes)) {
    const sps = spsOf(codec, data);
    if (!sps || (sps.format.matrix !== 0 && !sps.format.fullRange)) continue;
    const plain = unescaped(data);
    const set = (at: number, bit: boolean): void => {
      plain[at >> 3] = bit ? plain[at >> 3]! | (0x80 >> (at & 7)) : plain[at >> 3]! & ~(0x80 >> (at & 7));
    };
    if (sps.format.matrix === 0) set(sps.matrixAt! + 6, true); // 0 → 2
    set(sps.rangeAt!, false);
    const unit = escaped(plain);
    const length = new Uint8Array(lengthBytes);
    for (let i = 0; i < lengthBytes; i++) length[i] = Math.floor(unit.length / 256 ** (lengthBytes - 1 - i)) & 255;
    parts.push(bytes.subarray(from, offset - lengthBytes), length, unit);
    from = offset + data.length;
  }
  if (from === 0) return bytes;
  parts.push(bytes.subarray(from));
  return joined(parts);
}

/** Without the bytes 3 that keep two zeros from looking like a start code. */
function unescaped(unit: Uint8Array): Uint8Array {
  return Uint8Array.from(unit).filter((byte, i) => !(byte === 3 && i >= 2 && unit[i - 1] === 0 && unit[i - 2] === 0));
}

function escaped(plain: Uint8Array): Uint8Array {
  const out: number[] = [];
  let zeros = 0;
  for (const byte of plain) {
    if (zeros >= 2 && byte <= 3) {
      out.push(3);
      zeros = 0;
    }
    out.push(byte);
    zeros = byte === 0 ? zeros + 1 : 0;
  }
  return Uint8Array.from(out);
}
