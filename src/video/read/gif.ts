/**
 * GIF → its frames, as they are shown. The whole file is walked first, which is quick and says what
 * it asks for; then frame after frame is decoded.
 */
import { CogwheelError } from "../../base/errors.ts";
import { Canvas, shownFor, type Blend, type FrameArea } from "./canvas.ts";
import { refuseBeyondFrames, refuseBeyondPixels } from "./limits.ts";
import { decodeLzw } from "./lzw.ts";
import type { ReadContext, Reader } from "./reader.ts";

interface GifFrame extends FrameArea {
  interlaced: boolean;
  /** Three bytes a colour. */
  palette: Uint8Array;
  /** The index that is not drawn. */
  transparent: number | undefined;
  disposal: number;
  /** As the file says it, in seconds. */
  delay: number;
  bits: number;
  /** Where the data begin. */
  data: number;
}

interface Gif {
  width: number;
  height: number;
  background: number;
  frames: GifFrame[];
}

export const readGif: Reader = async function* (bytes, context) {
  const gif = walk(bytes, context);
  const { frames } = gif;
  const first = frames[0]!;
  // A first frame that is larger than the screen is shown whole, by browsers as by Pillow; later ones are cut.
  const width = Math.max(gif.width, first.x + first.width);
  const height = Math.max(gif.height, first.y + first.height);
  refuseBeyondPixels(context, width, height);
  for (const frame of frames) if (frame.width * frame.height > 0) refuseBeyondPixels(context, frame.width, frame.height);
  refuseBeyondFrames(context, width, height, frames.length);

  const canvas = new Canvas(width, height);
  canvas.fill(canvasRegion(canvas), underneath(first, 0));
  let seconds = 0;
  let short = 0;
  for (const [index, frame] of frames.slice(0, context.maxFrames).entries()) {
    if (frame.disposal === 3) canvas.save();
    const indices = decodeLzw(bytes, frame.data, frame.bits, frame.width * frame.height);
    if (indices.length < frame.width * frame.height) {
      if (index === 0 && indices.length === 0)
        throw new CogwheelError(
          "video",
          `${context.name} must be a whole GIF, got no pixels in its first frame; copy or download it again`,
        );
      short++;
    }
    draw(canvas, frame, indices);
    context.progress();
    const duration = shownFor(frame.delay);
    yield { width, height, data: canvas.data.slice(), seconds, duration };
    seconds += duration;
    if (frame.disposal === 2) canvas.fill(frame, underneath(frame, gif.background));
    else if (frame.disposal === 3) canvas.restore();
  }
  if (short > 0)
    context.warn(
      `${context.name} is damaged: ${short} of its frames ${short === 1 ? "has" : "have"} fewer pixels than they should; ` +
        "what is missing was left as it was",
    );
};

/** The blocks of the file. */
function walk(bytes: Uint8Array, context: ReadContext): Gif {
  const { name, warn, progress, limits } = context;
  const short = (at: number, place = 0) => bytes[at + place]! | (bytes[at + place + 1]! << 8);
  const damaged = (what: string): never => {
    throw new CogwheelError("video", `${name} must be a whole GIF, got ${what}; copy or download it again`);
  };
  if (bytes.length < 13) damaged(`only ${bytes.length} bytes`);
  const gif: Gif = { width: short(6), height: short(8), background: bytes[11]!, frames: [] };
  let at = 13;
  let global: Uint8Array | undefined;
  if (bytes[10]! & 0x80) {
    const length = 3 << ((bytes[10]! & 7) + 1);
    global = bytes.subarray(at, at + length);
    at += length;
  }
  let control: Pick<GifFrame, "transparent" | "disposal" | "delay"> | undefined;
  /** Past the blocks that begin at `from`; `undefined` where they are cut. */
  const past = (from: number): number | undefined => {
    while (from < bytes.length) {
      const size = bytes[from]!;
      from += size + 1;
      if (size === 0) return from;
    }
    return undefined;
  };
  let ending: string | undefined;
  walking: while (ending === undefined) {
    const kind = bytes[at++];
    switch (kind) {
      case 0x00:
        break; // stray ends of blocks, which some programs write
      case 0x21: {
        if (bytes[at] === 0xf9 && bytes[at + 1]! >= 4 && at + 6 <= bytes.length) {
          const flags = bytes[at + 2]!;
          control = { transparent: flags & 1 ? bytes[at + 5]! : undefined, disposal: (flags >> 2) & 7, delay: short(at, 3) / 100 };
          // 4 is written by some programs where 3 is meant, and browsers take it so.
          if (control.disposal === 4) control.disposal = 3;
        }
        const end = past(at + 1);
        if (end === undefined) ending = "it ends in the middle of a block";
        else at = end;
        break;
      }
      case 0x2c: {
        if (at + 10 > bytes.length) {
          ending = "it ends in the middle of a frame";
          break;
        }
        const flags = bytes[at + 8]!;
        const region = { x: short(at), y: short(at, 2), width: short(at, 4), height: short(at, 6) };
        at += 9;
        let palette = global;
        if (flags & 0x80) {
          const length = 3 << ((flags & 7) + 1);
          palette = bytes.subarray(at, at + length);
          at += length;
        }
        const bits = bytes[at++] ?? 0;
        const end = past(at);
        if (end === undefined) {
          ending = "it ends in the middle of a frame";
          break;
        }
        if (bits < 1 || bits > 8) {
          ending = `a frame has indices of ${bits} bits`;
          break;
        }
        const { transparent, disposal, delay } = control ?? NO_CONTROL;
        gif.frames.push({
          ...region,
          interlaced: (flags & 0x40) !== 0,
          palette: palette ?? GREYS,
          transparent,
          disposal,
          delay,
          bits,
          data: at,
        });
        if (gif.frames.length > limits.frames && context.maxFrames > limits.frames)
          refuseBeyondFrames(context, gif.width, gif.height, gif.frames.length);
        control = undefined;
        at = end;
        progress();
        if (gif.frames.length >= context.maxFrames) break walking; // what follows is not asked for
        break;
      }
      case 0x3b:
        if (bytes.length - at > 1) warn(`${name} goes on after its end: ${bytes.length - at} bytes were ignored`);
        break walking;
      case undefined:
        ending = "it ends without the mark of its end";
        break;
      default:
        ending = `it goes on with a block of no known kind (0x${kind.toString(16)})`;
    }
  }
  if (gif.frames.length === 0) damaged(ending === undefined ? "no frame" : `no whole frame: ${ending}`);
  if (ending !== undefined)
    warn(
      `${name} is cut short or damaged: ${ending}; ` +
        `its ${gif.frames.length} whole ${gif.frames.length === 1 ? "frame was" : "frames were"} read`,
    );
  return gif;
}

/** Where a file has no palette: what players take then. */
const GREYS = Uint8Array.from({ length: 768 }, (_, index) => Math.floor(index / 3));
const NO_CONTROL = { transparent: undefined, disposal: 0, delay: 0 };

const canvasRegion = ({ width, height }: Canvas): FrameArea => ({ x: 0, y: 0, width, height });

/**
 * What is there where nothing is drawn, or no longer. Frames have no alpha, so that the colour counts which the palette has for it:
 * that of the transparent index, else that of the background, as Pillow has it.
 */
function underneath({ palette, transparent }: GifFrame, background: number): [number, number, number, number] {
  const index = transparent ?? background;
  const at = 3 * index + 3 > palette.length ? 0 : 3 * index;
  return [palette[at] ?? 0, palette[at + 1] ?? 0, palette[at + 2] ?? 0, transparent === undefined ? 255 : 0];
}

function draw(canvas: Canvas, frame: GifFrame, indices: Uint8Array): void {
  const { palette, transparent, width, height } = frame;
  const over: Blend = (to, at, from, pixel) => {
    const index = from[pixel / 4]!;
    if (index === transparent) return;
    to[at] = palette[3 * index] ?? 0;
    to[at + 1] = palette[3 * index + 1] ?? 0;
    to[at + 2] = palette[3 * index + 2] ?? 0;
    to[at + 3] = 255;
  };
  let stored = 0;
  for (const y of rowOrder(height, frame.interlaced)) {
    const data = indices.subarray(stored, (stored += width));
    if (data.length === 0) break;
    canvas.draw({ x: frame.x, y: frame.y + y, width: data.length, height: 1, data }, over);
  }
}

/**
 * Rows in the order in which they are stored: of an interlaced frame every eighth, the
 * fourths between them, the second ones, the odd ones.
 */
function* rowOrder(height: number, interlaced: boolean): Generator<number> {
  for (const [first, step] of interlaced
    ? ([
        [0, 8],
        [4, 8],
        [2, 4],
        [1, 2],
      ] as const)
    : ([[0, 1]] as const)) {
    for (let y = first; y < height; y += step) yield y;
  }
}
