/** WebP → one frame, or the frames of an animated one, each of which is a picture of its own in the file. */
import { CogwheelError } from "../../base/errors.ts";
import { Canvas, replace, shownFor, type Blend, type FrameArea } from "./canvas.ts";
import { openCodec, type Decoded, type PictureDecoder } from "./codec.ts";
import { orientationOf } from "./exif.ts";
import { warnOfProfile } from "./icc.ts";
import { refuseBeyondFrames, refuseBeyondPixels } from "./limits.ts";
import { orient, type Orientation } from "./orientation.ts";
import type { ReadContext, Reader } from "./reader.ts";

interface Chunk {
  type: string;
  data: Uint8Array;
}

interface WebpFrame extends FrameArea {
  seconds: number;
  /** Cleared before the next one. */
  cleared: boolean;
  over: boolean;
  /** A file of this frame alone. */
  file: Uint8Array<ArrayBuffer>;
}

interface Webp {
  width: number;
  height: number;
  orientation: Orientation;
  profile: Uint8Array | undefined;
  /** None where nothing moves. */
  frames: WebpFrame[];
}

export const readWebp: Reader = async function* (bytes, context) {
  const webp = walk(bytes, context);
  const { width, height, frames, orientation } = webp;
  refuseBeyondFrames(context, width, height, Math.max(1, frames.length));
  if (webp.profile) warnOfProfile(webp.profile, context);
  const codec = await openCodec("webp");
  if (frames.length === 0) return yield orient(decode(codec, bytes, { width, height }, context), orientation);
  const canvas = new Canvas(width, height);
  let seconds = 0;
  for (const frame of frames.slice(0, context.maxFrames)) {
    const { data } = decode(codec, frame.file, frame, context);
    canvas.draw({ ...frame, data }, frame.over ? over : replace);
    yield { ...orient({ width, height, data: canvas.data.slice() }, orientation), seconds, duration: frame.seconds };
    seconds += frame.seconds;
    if (frame.cleared) canvas.fill(frame, [0, 0, 0, 0]);
  }
};

function decode(
  codec: PictureDecoder,
  file: Uint8Array,
  want: { width: number; height: number },
  { name, progress }: ReadContext,
): Decoded {
  let decoded: Decoded;
  try {
    progress();
    decoded = codec.decode(file);
    progress();
  } catch (error) {
    throw new CogwheelError(
      "video",
      `${name} must be a whole WebP, got ${(error as Error).message} at its decoder; save it again as WebP or PNG`,
      { cause: error },
    );
  }
  if (decoded.width !== want.width || decoded.height !== want.height)
    throw new CogwheelError(
      "video",
      `${name} must be a WebP whose headers agree, ` +
        `got ${want.width}×${want.height} and ${decoded.width}×${decoded.height}; save it again as WebP or PNG`,
    );
  return decoded;
}

/** What a moving one is made of. */
const KNOWN = new Set(["VP8X", "ICCP", "ANIM", "ANMF", "EXIF", "XMP "]);

/** As libwebp's own animation decoder blends, in its integers. */
const over: Blend = (canvas, at, source, from) => {
  const alpha = source[from + 3]!;
  if (alpha === 255) return replace(canvas, at, source, from);
  if (alpha === 0) return;
  const below = (canvas[at + 3]! * (256 - alpha)) >> 8;
  const both = alpha + below;
  const scale = Math.floor(2 ** 24 / both);
  for (let channel = 0; channel < 3; channel++)
    canvas[at + channel] = Math.floor(((source[from + channel]! * alpha + canvas[at + channel]! * below) * scale) / 2 ** 24);
  canvas[at + 3] = both;
};

/** The chunks of a RIFF file, or of a frame. `broken` where they end in the middle of one. */
function chunksOf(bytes: Uint8Array, from: number): { chunks: Chunk[]; broken: boolean } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const chunks: Chunk[] = [];
  let at = from;
  while (at + 8 <= bytes.length) {
    const length = view.getUint32(at + 4, true);
    if (at + 8 + length > bytes.length) return { chunks, broken: true };
    chunks.push({ type: String.fromCharCode(...bytes.subarray(at, at + 4)), data: bytes.subarray(at + 8, at + 8 + length) });
    at += 8 + length + (length & 1);
  }
  return { chunks, broken: at < bytes.length };
}

function walk(bytes: Uint8Array, context: ReadContext): Webp {
  const { name, warn, progress } = context;
  const damaged = (what: string): never => {
    throw new CogwheelError("video", `${name} must be a whole WebP, got ${what}; copy or download it again`);
  };
  if (bytes.length < 20) return damaged(`only ${bytes.length} bytes`);
  const promised = 8 + new DataView(bytes.buffer, bytes.byteOffset).getUint32(4, true);
  // What comes behind the end that the file names is not part of it.
  const { chunks, broken } = chunksOf(bytes.subarray(0, promised), 12);
  const cut = broken || promised > bytes.length + 1;
  const first = chunks[0];
  if (!first) return damaged("one that ends in the middle of its picture");
  if (first.type !== "VP8X") {
    if (cut) return damaged("one that ends in the middle of its picture");
    const size = sizeOf(first) ?? damaged(`no picture in front (${printable(first.type)})`);
    refuseBeyondPixels(context, size.width, size.height);
    return { ...size, orientation: 1, profile: undefined, frames: [] };
  }
  if (first.data.length < 10) return damaged("a header (VP8X) that is too short");
  const [width, height] = [1 + number24(first.data, 4), 1 + number24(first.data, 7)];
  refuseBeyondPixels(context, width, height);
  const contents = (wanted: string): Uint8Array | undefined => chunks.find(({ type }) => type === wanted)?.data;
  const webp: Webp = {
    width,
    height,
    orientation: orientationOf(contents("EXIF"), contents("XMP ")),
    profile: contents("ICCP"),
    frames: [],
  };
  if (!(first.data[0]! & 2)) {
    if (cut) return damaged("one that ends in the middle of its picture");
    const picture = chunks.find(({ type }) => type === "VP8 " || type === "VP8L") ?? damaged("no picture in it");
    const size = sizeOf(picture) ?? damaged("a picture without a size");
    if (size.width !== width || size.height !== height)
      return damaged(`headers that disagree, ${width}×${height} and ${size.width}×${size.height}`);
    return webp;
  }
  for (const { type, data } of chunks) {
    if (!KNOWN.has(type))
      warn(`${name} has a chunk of no known kind (${printable(type)}), which was left out; if it was a frame, the file is damaged`);
    if (type !== "ANMF") continue;
    progress();
    webp.frames.push(frameOf(data, webp, damaged));
  }
  if (webp.frames.length === 0) return damaged("an animated one without a whole frame");
  if (bytes.length - promised > 8) warn(`${name} goes on after its end: ${bytes.length - promised} bytes were ignored`);
  if (cut) warn(`${name} is cut short: its ${webp.frames.length} whole ${webp.frames.length === 1 ? "frame was" : "frames were"} read`);
  return webp;
}

function frameOf(data: Uint8Array, canvas: { width: number; height: number }, damaged: (what: string) => never): WebpFrame {
  if (data.length < 16) return damaged("a frame (ANMF) that is too short");
  const [x, y, width, height] = [2 * number24(data, 0), 2 * number24(data, 3), 1 + number24(data, 6), 1 + number24(data, 9)];
  if (x + width > canvas.width || y + height > canvas.height)
    return damaged(`a frame of ${width}×${height} at (${x}, ${y}), outside of ${canvas.width}×${canvas.height}`);
  const { chunks, broken } = chunksOf(data, 16);
  const picture = chunks.find(({ type }) => type === "VP8 " || type === "VP8L");
  if (!picture || broken) return damaged("a frame without its whole picture");
  const size = sizeOf(picture) ?? damaged("a frame without a size");
  if (size.width !== width || size.height !== height)
    return damaged(`a frame of ${width}×${height} whose picture has ${size.width}×${size.height}`);
  const alpha = chunks.find(({ type }) => type === "ALPH");
  return {
    x,
    y,
    width,
    height,
    seconds: shownFor(number24(data, 12) / 1000),
    over: !(data[15]! & 2),
    cleared: (data[15]! & 1) === 1,
    file: fileOf(width, height, picture, alpha),
  };
}

/** A file with one picture, and its alpha where that is beside it. */
function fileOf(width: number, height: number, picture: Chunk, alpha: Chunk | undefined): Uint8Array<ArrayBuffer> {
  const extended = new Uint8Array(10);
  extended[0] = 0x10; // there is alpha
  for (let byte = 0; byte < 3; byte++) {
    extended[4 + byte] = (width - 1) >> (8 * byte);
    extended[7 + byte] = (height - 1) >> (8 * byte);
  }
  const chunks = alpha && picture.type === "VP8 " ? [{ type: "VP8X", data: extended }, alpha, picture] : [picture];
  const length = chunks.reduce((sum, { data }) => sum + 8 + data.length + (data.length & 1), 4);
  const out = new Uint8Array(8 + length);
  const view = new DataView(out.buffer);
  const put = (at: number, text: string) =>
    out.set(
      [...text].map((letter) => letter.charCodeAt(0)),
      at,
    );
  put(0, "RIFF");
  view.setUint32(4, length, true);
  put(8, "WEBP");
  let at = 12;
  for (const { type, data } of chunks) {
    put(at, type);
    view.setUint32(at + 4, data.length, true);
    out.set(data, at + 8);
    at += 8 + data.length + (data.length & 1);
  }
  return out;
}

/** The size that a picture's own header says: lossy after its key frame's mark, lossless in 14 bits each. */
function sizeOf({ type, data }: Chunk): { width: number; height: number } | undefined {
  const view = new DataView(data.buffer, data.byteOffset, data.length);
  if (type === "VP8 " && data.length >= 10 && data[3] === 0x9d && data[4] === 0x01 && data[5] === 0x2a)
    return { width: view.getUint16(6, true) & 0x3fff, height: view.getUint16(8, true) & 0x3fff };
  if (type === "VP8L" && data.length >= 5 && data[0] === 0x2f) {
    const bits = view.getUint32(1, true);
    return { width: 1 + (bits & 0x3fff), height: 1 + ((bits >> 14) & 0x3fff) };
  }
  return undefined;
}

const number24 = (data: Uint8Array, at: number): number => data[at]! | (data[at + 1]! << 8) | (data[at + 2]! << 16);
const printable = (text: string): string => text.replace(/[^\x20-\x7e]/g, "?");
