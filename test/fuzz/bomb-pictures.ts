/** Pictures that ask for far more than they hold: sizes, frames, scans, inflated bytes. */
import { constants, deflateRawSync, deflateSync } from "node:zlib";
import { crc32 } from "../../src/video/read/png-chunks.ts";

export type Draw = () => number;
/** Makes a bomb; random in what does not matter for it. */
export type Bomb = (draw: Draw) => Uint8Array;

export const join = (...parts: (Uint8Array | number[] | string)[]): Uint8Array =>
  new Uint8Array(Buffer.concat(parts.map((part) => (typeof part === "string" ? Buffer.from(part, "latin1") : Buffer.from(part)))));
export const u16 = (value: number): number[] => [value >>> 8, value & 255];
export const u32 = (value: number): number[] => [...u16(Math.floor(value / 65536)), ...u16(value & 65535)];
const little16 = (value: number): number[] => u16(value).reverse();
const little32 = (value: number): number[] => u32(value).reverse();
/** One part, many times. */
const times = (count: number, part: Uint8Array | number[]): Uint8Array => Buffer.alloc(count * part.length, Buffer.from(part));
/** So many parts, each made with its number. */
const each = (count: number, part: (index: number) => Uint8Array): Uint8Array =>
  join(
    ...Array.from({ length: Math.ceil(count / 1000) }, (_, thousand) =>
      join(...Array.from({ length: Math.min(1000, count - 1000 * thousand) }, (_, index) => part(1000 * thousand + index))),
    ),
  );
const between = (draw: Draw, least: number, most: number): number => Math.floor(least + draw() * (most - least + 1));

export function pngChunk(type: string, data: Uint8Array | number[]): Uint8Array {
  const body = join(type, data);
  return join(u32(data.length), body, u32(crc32(body)));
}
const signature = "\x89PNG\r\n\x1a\n";
export const header = (width: number, height: number, depth = 8, colour = 2, interlaced = 0): Uint8Array =>
  pngChunk("IHDR", [...u32(width), ...u32(height), depth, colour, 0, 0, interlaced]);
export const png = (...chunks: Uint8Array[]): Uint8Array => join(signature, ...chunks, pngChunk("IEND", []));
/** Megabytes of zeros, a kilobyte each: one that is deflated once and repeated, between zlib's header and its sum. */
const zeros = (megabytes: number): Uint8Array =>
  join([0x78, 0x9c], times(megabytes, MEGABYTE), [3, 0], u32(((megabytes * 2 ** 20) % 65521) * 65536 + 1));
const MEGABYTE = deflateRawSync(new Uint8Array(2 ** 20), { finishFlush: constants.Z_FULL_FLUSH });
const frameControl = (sequence: number, width: number, height: number): Uint8Array =>
  pngChunk("fcTL", [...u32(sequence), ...u32(width), ...u32(height), ...u32(0), ...u32(0), 0, 1, 0, 100, 0, 0]);

const PNG: Record<string, Bomb> = {
  "png of 2³¹ × 2³¹": () => png(header(2 ** 31 - 1, 2 ** 31 - 1), pngChunk("IDAT", zeros(1))),
  "png a pixel too large": (draw) => png(header(8192, 8193, 1, 0, between(draw, 0, 1)), pngChunk("IDAT", zeros(9))),
  "png of 1 bit at the limit": (draw) => png(header(8192, 8192, 1, 0, between(draw, 0, 1)), pngChunk("IDAT", zeros(9))),
  "png of 16 bits at the limit, cut": () => png(header(8192, 8192, 16, 6), pngChunk("IDAT", zeros(4))),
  "png of 16×16 with 1 GB": () => png(header(16, 16), pngChunk("IDAT", zeros(1024))),
  "png of 16×16 with 1 GB in chunks of a byte": () =>
    png(
      header(16, 16),
      each(zeros(16).length, (index) => pngChunk("IDAT", [zeros(16)[index]!])),
    ),
  "png with a profile of 1 GB": () =>
    png(header(1, 1), pngChunk("iCCP", join("x\0\0", zeros(1024))), pngChunk("IDAT", deflateSync(new Uint8Array(4)))),
  "png with texts of 1 GB": () =>
    png(
      header(1, 1),
      pngChunk("zTXt", join("x\0\0", zeros(512))),
      pngChunk("iTXt", join("x\0\x01\0\0\0", zeros(512))),
      pngChunk("IDAT", deflateSync(new Uint8Array(4))),
    ),
  "png of 100,000 empty chunks": () =>
    png(header(1, 1), times(100_000, pngChunk("IDAT", [])), pngChunk("IDAT", deflateSync(new Uint8Array(4)))),
  "apng of 2³² frames": () =>
    png(header(64, 64), pngChunk("acTL", [...u32(2 ** 32 - 1), ...u32(0)]), frameControl(0, 64, 64), pngChunk("IDAT", zeros(1))),
  "apng of 200 frames of 4000×4000": () => {
    const data = zeros(2);
    return png(
      header(4000, 4000, 1, 0),
      pngChunk("acTL", [...u32(200), ...u32(0)]),
      frameControl(0, 4000, 4000),
      pngChunk("IDAT", data),
      each(199, (index) => join(frameControl(2 * index + 1, 4000, 4000), pngChunk("fdAT", join(u32(2 * index + 2), data)))),
    );
  },
  "apng of 90,000 frames of a pixel": () => {
    const data = deflateSync(new Uint8Array(2));
    return png(
      header(1, 1, 8, 0),
      pngChunk("acTL", [...u32(90_000), ...u32(0)]),
      frameControl(0, 1, 1),
      pngChunk("IDAT", data),
      each(89_999, (index) => join(frameControl(2 * index + 1, 1, 1), pngChunk("fdAT", join(u32(2 * index + 2), data)))),
    );
  },
};

/** One frame: a minimal code size, and its data. */
const gifFrame = (x: number, y: number, width: number, height: number, data: number[]): number[] => [
  0x21,
  0xf9,
  4,
  4,
  10,
  0,
  0,
  0,
  0x2c,
  ...little16(x),
  ...little16(y),
  ...little16(width),
  ...little16(height),
  0,
  ...data,
];
const gif = (width: number, height: number, ...frames: (Uint8Array | number[])[]): Uint8Array =>
  join("GIF89a", little16(width), little16(height), [0x80, 0, 0, 0, 0, 0, 255, 255, 255], ...frames, [0x3b]);
const SHORT = [2, 2, 0x4c, 1, 0];

const GIF: Record<string, Bomb> = {
  "gif of 20000×20000, 3 frames": () => gif(20000, 20000, times(3, gifFrame(0, 0, 20000, 20000, SHORT))),
  "gif of 65535×65535": () => gif(65535, 65535, gifFrame(0, 0, 1, 1, SHORT)),
  "gif of a pixel with frames of 65535×65535": () => gif(1, 1, gifFrame(0, 0, 1, 1, SHORT), gifFrame(0, 0, 65535, 65535, SHORT)),
  "gif of 200 frames of 4000×4000": () => gif(4000, 4000, times(200, gifFrame(0, 0, 4, 4, SHORT))),
  "gif of 30 frames of 4000×4000": () => gif(4000, 4000, times(30, gifFrame(0, 0, 4, 4, SHORT))),
  "gif of 500,000 frames": () => gif(1, 1, times(500_000, gifFrame(0, 0, 1, 1, SHORT))),
  "gif of 90,000 frames of 8000×8000 over one pixel": () =>
    gif(1, 1, gifFrame(0, 0, 1, 1, SHORT), times(20_000, gifFrame(0, 0, 8000, 8000, SHORT))),
  // The longest strings that the table can hold: 3840 pixels a code.
  "gif of LZW that swells": () => gif(8192, 8192, gifFrame(0, 0, 8192, 8192, [8, ...swelling()])),
  "gif of empty blocks": () => join("GIF89a", little16(1), little16(1), [0, 0, 0], new Uint8Array(2 ** 22)),
  "gif of a million extensions": () =>
    join("GIF89a", little16(1), little16(1), [0, 0, 0], Buffer.alloc(3 * 2 ** 20, Buffer.from([0x21, 0xfe, 0]))),
};

function swelling(): number[] {
  const out: number[] = [];
  let [held, bits, width, next] = [0, 0, 9, 258];
  const put = (code: number): void => {
    held |= code << bits;
    for (bits += width; bits >= 8; bits -= 8, held >>>= 8) out.push(held & 255);
  };
  put(256);
  put(0);
  for (let n = 0; n < 40_000; n++) {
    put(Math.min(next, 4095));
    if (next < 4095 && ++next === 1 << width && width < 12) width++;
  }
  const blocks: number[] = [];
  for (let at = 0; at < out.length; at += 255) blocks.push(Math.min(255, out.length - at), ...out.slice(at, at + 255));
  return [...blocks, 0];
}

const segment = (marker: number, data: number[]): number[] => [0xff, marker, ...u16(data.length + 2), ...data];
const frame = (marker: number, width: number, height: number, components = 3): number[] =>
  segment(marker, [
    8,
    ...u16(height),
    ...u16(width),
    components,
    ...Array.from({ length: components }, (_, index) => [index + 1, 0x11, 0]).flat(),
  ]);
const table = segment(0xdb, [0, ...new Array<number>(64).fill(1)]);
/** One code of one bit, for the value 0. */
const huffman = [
  ...segment(0xc4, [0x00, 1, ...new Array<number>(15).fill(0), 0]),
  ...segment(0xc4, [0x10, 1, ...new Array<number>(15).fill(0), 0]),
];
const scan = (components: number[], from = 0, to = 63, precision = 0): number[] =>
  segment(0xda, [components.length, ...components.flatMap((id) => [id, 0]), from, to, precision]);
const jpeg = (...parts: number[][]): Uint8Array => join([0xff, 0xd8], ...parts, [0xff, 0xd9]);

const JPEG: Record<string, Bomb> = {
  "jpeg of 65535×65535": () => jpeg(table, frame(0xc0, 65535, 65535), huffman, scan([1, 2, 3]), [0]),
  "jpeg of 65500×1000 with one byte": () => jpeg(table, frame(0xc0, 65500, 1000), huffman, scan([1, 2, 3]), [0]),
  "jpeg without a height (DNL)": () => jpeg(table, frame(0xc0, 16, 0), huffman, scan([1, 2, 3]), [0], segment(0xdc, [0, 16])),
  "progressive jpeg of 8000×8000 in 1,000,000 scans": () =>
    join(
      [0xff, 0xd8],
      table,
      frame(0xc2, 8000, 8000, 1),
      huffman,
      scan([1], 0, 0),
      Buffer.alloc(10 * 1_000_000, Buffer.from(scan([1], 1, 63))),
      [0xff, 0xd9],
    ),
  "progressive jpeg of 8000×8000 in 30 scans": () =>
    jpeg(table, frame(0xc2, 8000, 8000, 1), huffman, scan([1], 0, 0), ...Array.from({ length: 29 }, () => scan([1], 1, 63))),
  "progressive jpeg of 16×16 in 1,000,000 scans": () =>
    join(
      [0xff, 0xd8],
      table,
      frame(0xc2, 16, 16, 1),
      huffman,
      scan([1], 0, 0),
      Buffer.alloc(10 * 1_000_000, Buffer.from(scan([1], 1, 63))),
      [0xff, 0xd9],
    ),
  "jpeg of a million comments": () => join([0xff, 0xd8], Buffer.alloc(4_000_000, Buffer.from(segment(0xfe, []))), [0xff, 0xd9]),
  "jpeg with EXIF that goes round": () =>
    jpeg(
      segment(0xe1, [...Buffer.from("Exif\0\0MM\0*\0\0\0\x08\xff\xff", "latin1"), ...new Array<number>(40).fill(0)]),
      table,
      frame(0xc0, 8, 8),
      huffman,
      scan([1, 2, 3]),
      [0],
    ),
};

const riff = (...chunks: Uint8Array[]): Uint8Array => {
  const body = join("WEBP", ...chunks);
  return join("RIFF", little32(body.length), body);
};
const webpChunk = (type: string, data: Uint8Array | number[]): Uint8Array =>
  join(type, little32(data.length), data, data.length % 2 ? [0] : []);
const little24 = (value: number): number[] => little32(value).slice(0, 3);
const extended = (flags: number, width: number, height: number): Uint8Array =>
  webpChunk("VP8X", [flags, 0, 0, 0, ...little24(width - 1), ...little24(height - 1)]);
/** A lossless picture of one colour: no transform, no cache, five codes of one symbol each. */
const lossless = (width: number, height: number): Uint8Array => {
  let [bits, count] = [0n, 0n];
  const put = (value: number, width: number): void => {
    bits |= BigInt(value) << count;
    count += BigInt(width);
  };
  put(0x2f, 8);
  put(width - 1, 14);
  put(height - 1, 14);
  put(0, 1 + 3 + 1 + 1 + 1);
  for (let code = 0; code < 5; code++) put(0b0001, 4); // simple, one symbol of one bit: 0
  const out: number[] = [];
  for (let at = 0n; at < count; at += 8n) out.push(Number((bits >> at) & 255n));
  return webpChunk("VP8L", [...out, 0, 0, 0, 0]);
};
const webpFrame = (width: number, height: number): Uint8Array =>
  webpChunk("ANMF", join([0, 0, 0, 0, 0, 0], little24(width - 1), little24(height - 1), little24(40), [0], lossless(width, height)));

const WEBP: Record<string, Bomb> = {
  "lossless webp of 16384×16384": () => riff(lossless(16384, 16384)),
  "lossless webp of 8192×8192": () => riff(lossless(8192, 8192)),
  "webp with a canvas of 2²⁴ × 2²⁴": () => riff(extended(0, 2 ** 24, 2 ** 24), lossless(1, 1)),
  "webp whose headers disagree": () => riff(extended(0, 8000, 8000), lossless(16384, 16384)),
  "moving webp of 200 frames of 4000×4000": () =>
    riff(extended(2, 4000, 4000), webpChunk("ANIM", [0, 0, 0, 0, 0, 0]), times(200, webpFrame(4000, 4000))),
  "moving webp of 200,000 frames": () => riff(extended(2, 1, 1), webpChunk("ANIM", [0, 0, 0, 0, 0, 0]), times(200_000, webpFrame(1, 1))),
  "moving webp of 20 frames of 4000×4000": () =>
    riff(extended(2, 4000, 4000), webpChunk("ANIM", [0, 0, 0, 0, 0, 0]), times(20, webpFrame(4000, 4000))),
};

/** Pages that were saved in place of a picture, which a pattern can be matched against in more ways than there is time for. */
const PAGES: Record<string, Bomb> = {
  "page of 140 comments": () => join("<!---->".repeat(140), "<div>"),
  "page of declarations and comments": (draw) => join("<?xml?>".repeat(between(draw, 1, 20)), "<!-- -->\n".repeat(90), "<!DOCTYPE x>"),
};

export const PICTURE_BOMBS: Record<string, Bomb> = { ...PNG, ...GIF, ...JPEG, ...WEBP, ...PAGES };
