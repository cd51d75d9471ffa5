/** Damage to films and pictures, and what must come of it where that can be known. */
import type { Mutator } from "../support/mutate.ts";

export interface Seed {
  name: string;
  bytes: Uint8Array;
  /** What the whole file comes to. */
  width: number;
  height: number;
  frames: number;
}

export interface Damaged {
  bytes: Uint8Array;
  what: string;
  /** The container and its index are whole: the file still says this size and this number of frames. */
  says?: { width: number; height: number; frames: number };
}

type Range = readonly [from: number, to: number];

/** Where the coded pictures lie, and nothing else: what is flipped there changes neither a size nor a number of frames that a file says. */
export function payload(bytes: Uint8Array): Range[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const word = (at: number): string => String.fromCharCode(...bytes.subarray(at, at + 4));
  if (word(4) === "ftyp")
    return boxes(view, 0, bytes.length)
      .filter(({ type }) => type === "mdat")
      .map(({ from, to }) => [from, to]);
  if (view.getUint32(0) === 0x1a45dfa3) return blocks(bytes, 0, bytes.length);
  if (word(1) === "PNG\r") {
    const found: Range[] = [];
    for (let at = 8; at < bytes.length; at += 12 + view.getUint32(at))
      if (/IDAT|fdAT/.test(word(at + 4))) found.push([at + 8, at + 8 + view.getUint32(at)]);
    return found;
  }
  if (word(0) === "RIFF") {
    const found: Range[] = [];
    for (let at = 12; at + 8 < bytes.length; ) {
      const size = view.getUint32(at + 4, true);
      if (/VP8|ANMF/.test(word(at)) && word(at) !== "VP8X") found.push([at + 8 + (word(at) === "ANMF" ? 34 : 10), at + 8 + size]);
      at += 8 + size + (size & 1);
    }
    return found;
  }
  if (view.getUint16(0) === 0xffd8) {
    const found: Range[] = [];
    for (let at = 2; at + 4 < bytes.length; at += 2 + view.getUint16(at + 2))
      if (view.getUint16(at) === 0xffda) return [[at + 2 + view.getUint16(at + 2), bytes.length - 2]];
    return found;
  }
  return [];
}

function boxes(view: DataView, from: number, to: number): { type: string; from: number; to: number }[] {
  const found = [];
  for (let at = from; at + 8 <= to; ) {
    const size = view.getUint32(at);
    found.push({ type: String.fromCharCode(...[4, 5, 6, 7].map((i) => view.getUint8(at + i))), from: at + 8, to: at + size });
    at += size;
  }
  return found;
}

/** Matroska's blocks behind their own headers (track, time, flags) and that of the frame, in segments, clusters and groups. */
function blocks(bytes: Uint8Array, from: number, to: number): Range[] {
  const found: Range[] = [];
  for (let at = from; at < to; ) {
    const idLength = Math.clz32(bytes[at]!) - 23;
    const id = [...bytes.subarray(at, at + idLength)].reduce((value, byte) => value * 256 + byte, 0);
    at += idLength;
    const sizeLength = Math.clz32(bytes[at]!) - 23;
    const size = [...bytes.subarray(at, at + sizeLength)].reduce(
      (value, byte, i) => value * 256 + (i ? byte : byte & (0xff >> sizeLength)),
      0,
    );
    at += sizeLength;
    if ([0x18538067, 0x1f43b675, 0xa0].includes(id)) found.push(...blocks(bytes, at, at + size));
    else if (id === 0xa3 || id === 0xa1) found.push([at + 5, at + size]); // the first byte of VP8 says whether the frame is shown
    at += size;
  }
  return found;
}

/** One damaged file of a seed (or of two). */
export function damage(m: Mutator, seed: Seed, other: Seed): Damaged {
  const { bytes } = seed;
  const copy = Uint8Array.from(bytes);
  const says = { width: seed.width, height: seed.height, frames: seed.frames };
  const coded = payload(bytes);
  const isCoded = (at: number): boolean => coded.some(([from, to]) => at >= from && at < to);
  const flip = (at: number): void => void (copy[at]! ^= 1 << m.below(8));
  switch (m.below(12)) {
    case 0:
    case 1:
    case 2: {
      const count = 1 + m.below(8);
      for (let n = 0; n < count; n++) flip(m.below(copy.length));
      return { bytes: copy, what: `${count} bits flipped` };
    }
    case 3:
    case 4: {
      if (coded.length === 0) break;
      for (let n = 1 + m.below(6); n > 0; n--) {
        const [from, to] = m.pick(coded);
        flip(from + m.below(to - from));
      }
      return { bytes: copy, what: "bits of coded pictures flipped", says };
    }
    case 5: {
      const heads = Array.from(copy.keys()).filter((at) => !isCoded(at));
      for (let n = 1 + m.below(4); n > 0; n--) flip(m.pick(heads));
      return { bytes: copy, what: "bits of headers flipped" };
    }
    case 6: {
      const heads = Array.from(copy.keys()).filter((at) => !isCoded(at));
      const at = m.pick(heads);
      const value = m.pick([
        [0xff, 0xff, 0xff, 0xff],
        [0x7f, 0xff, 0xff, 0xff],
        [0, 0, 0, 0],
        [0x80, 0, 0, 0],
        [0, 0, 0, 1],
        [0x00, 0xff, 0xff, 0xff],
        [0x40, 0, 0, 0],
      ]);
      copy.set(value.slice(0, copy.length - at), at);
      return { bytes: copy, what: "a number of a header at its limits" };
    }
    case 7:
    case 8: {
      const length = m.below(2) ? m.below(copy.length) : copy.length - 1 - m.below(copy.length >> 2);
      return { bytes: copy.subarray(0, length), what: `cut to ${length} of ${copy.length} bytes`, says };
    }
    case 9: {
      const at = m.below(copy.length);
      copy.fill(m.pick([0, 255, m.below(256)]), at, at + 1 + m.below(200));
      return { bytes: copy, what: "bytes overwritten" };
    }
    case 10: {
      const [cut, from] = [m.below(copy.length), m.below(other.bytes.length)];
      const out = new Uint8Array(cut + other.bytes.length - from);
      out.set(copy.subarray(0, cut));
      out.set(other.bytes.subarray(from), cut);
      return { bytes: out, what: `the first ${cut} bytes, then ${other.name} from ${from}` };
    }
  }
  return { bytes: m.bytes(bytes), what: "bytes removed, doubled or put in" };
}
