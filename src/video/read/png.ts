/** PNG → one frame, or the frames of an animated one. */
import { CogwheelError } from "../../base/errors.ts";
import { Canvas, replace, shownFor, type Blend, type FrameArea } from "./canvas.ts";
import { orientationOf } from "./exif.ts";
import { inflate, inflateAtMost } from "./inflate.ts";
import { warnOfProfile } from "./icc.ts";
import { refuseBeyondFrames, refuseBeyondPixels } from "./limits.ts";
import { orient, type Orientation } from "./orientation.ts";
import { pngText, rawProfile } from "./png-text.ts";
import { walkPng, type Walked } from "./png-chunks.ts";
import { PngPixels, type PngHeader } from "./png-pixels.ts";
import type { ReadContext, Reader, ReadFrame } from "./reader.ts";

/** A frame of an animated PNG: where it goes, and its own deflated data. */
interface PngFrame extends FrameArea {
  seconds: number;
  /** 0 nothing, 1 clear the part, 2 bring back what was there. */
  dispose: number;
  /** Over what is there by its alpha, or in its place. */
  over: boolean;
  parts: Uint8Array[];
}

interface Png {
  header: PngHeader;
  palette: Uint8Array;
  alphas: Uint8Array;
  key: number[] | undefined;
  orientation: Orientation;
  /** The picture that readers show which know no animation. */
  still: Uint8Array[];
  /** None where nothing moves. */
  frames: PngFrame[];
  /** So many `frames` there should be. */
  promised: number;
  /** Whether anything says that it is an animated one. */
  moves: boolean;
}

export const readPng: Reader = async function* (bytes, context) {
  const walked = walkPng(bytes);
  const png = parse(walked, context);
  const { width, height } = png.header;
  if (png.frames.length === 0) {
    if (png.moves) context.warn(`${context.name} is an animated PNG, got no whole animation in it; its still picture was read`);
    const data = pixelsOf(png, { x: 0, y: 0, width, height }, png.still, walked.broken, context);
    return yield orient({ width, height, data }, png.orientation);
  }
  yield* animate(png, walked.broken, context);
};

async function* animate(png: Png, broken: string | undefined, context: ReadContext): AsyncGenerator<ReadFrame, void, undefined> {
  const { width, height } = png.header;
  const { frames } = png;
  refuseBeyondFrames(context, width, height, frames.length);
  if (frames.length !== png.promised || broken !== undefined) {
    context.warn(
      `${context.name} is cut short or damaged: ${broken ?? `${frames.length} frames are there, ${png.promised} should be`}; ` +
        "only its whole frames were read",
    );
  }
  const canvas = new Canvas(width, height);
  let seconds = 0;
  for (const [index, frame] of frames.slice(0, context.maxFrames).entries()) {
    let data: Uint8Array;
    try {
      data = pixelsOf(png, frame, frame.parts, broken, context);
    } catch (error) {
      // Of a file that is known to be cut short, the frames before are shown.
      if (index === 0 || broken === undefined) throw error;
      return;
    }
    if (frame.dispose === 2) canvas.save();
    canvas.draw({ ...frame, data }, frame.over && index > 0 ? over : replace); // under the first there is nothing
    yield { ...orient({ width, height, data: canvas.data.slice() }, png.orientation), seconds, duration: frame.seconds };
    seconds += frame.seconds;
    // Before the first frame there is nothing to bring back.
    if (frame.dispose === 1 || (frame.dispose === 2 && index === 0)) canvas.fill(frame, [0, 0, 0, 0]);
    else if (frame.dispose === 2) canvas.restore();
  }
}

/** The PNG recommendation's "over", with alpha that is not multiplied in. */
const over: Blend = (canvas, at, source, from) => {
  const alpha = source[from + 3]!;
  if (alpha === 0) return;
  const below = (canvas[at + 3]! * (255 - alpha)) / 255;
  const both = alpha + below;
  for (let channel = 0; channel < 3; channel++)
    canvas[at + channel] = Math.round((source[from + channel]! * alpha + canvas[at + channel]! * below) / both);
  canvas[at + 3] = Math.round(both);
};

/** RGBA of one region's deflated data; what comes after its last row is not inflated. */
function pixelsOf(
  png: Png,
  { width, height }: FrameArea,
  parts: readonly Uint8Array[],
  broken: string | undefined,
  { name, progress }: ReadContext,
): Uint8Array<ArrayBuffer> {
  const pixels = new PngPixels({ ...png.header, width, height }, png.palette, png.alphas, png.key);
  try {
    inflate(parts, (bytes) => pixels.take(bytes), progress);
  } catch (error) {
    throw new CogwheelError("video", `${name} must be a whole PNG, got ${(error as Error).message}; copy or download it again`, {
      cause: error,
    });
  }
  if (!pixels.done)
    throw new CogwheelError(
      "video",
      `${name} must be a whole PNG, got pixel data that end early${broken === undefined ? "" : `: ${broken}`}; copy or download it again`,
    );
  return pixels.data;
}

const COLOURS = { 0: "grey", 2: "rgb", 3: "palette", 4: "grey and alpha", 6: "rgb and alpha" } as const;
const DEPTHS = {
  grey: [1, 2, 4, 8, 16],
  rgb: [8, 16],
  palette: [1, 2, 4, 8],
  "grey and alpha": [8, 16],
  "rgb and alpha": [8, 16],
} as const;
/** Inflated bytes of a colour profile that are looked at. */
const MOST_PROFILE = 2 ** 20;

function parse({ chunks, broken }: Walked, context: ReadContext): Png {
  const { name, progress } = context;
  const damaged = (what: string): never => {
    throw new CogwheelError("video", `${name} must be a whole PNG, got ${what}; copy or download it again`);
  };
  const first = chunks[0];
  if (first?.type === "CgBI")
    throw new CogwheelError(
      "video",
      `${name} must be a PNG, got Apple's own variant of it from inside an app (CgBI); ` +
        `convert it to PNG (\`pngcrush -revert-iphone-optimizations\`)`,
    );
  if (first?.type !== "IHDR" || first.data.length !== 13) return damaged(broken ?? "no header (IHDR) in front");
  const view = viewOf(first.data);
  const [width, height] = [view.getUint32(0), view.getUint32(4)];
  const [depth, type, compression, filter, interlace] = first.data.subarray(8) as unknown as [number, number, number, number, number];
  const colour = COLOURS[type as keyof typeof COLOURS] ?? damaged(`colour type ${type}`);
  if (!(DEPTHS[colour] as readonly number[]).includes(depth)) damaged(`${depth} bits a sample of ${colour}`);
  if (compression !== 0 || filter !== 0 || interlace > 1) damaged(`compression ${compression}, filter ${filter}, interlace ${interlace}`);
  refuseBeyondPixels(context, width, height);

  const png: Png = {
    header: { width, height, depth, colour, interlaced: interlace === 1 },
    palette: new Uint8Array(0),
    alphas: new Uint8Array(0),
    key: undefined,
    orientation: 1,
    still: [],
    frames: [],
    promised: 0,
    moves: false,
  };
  let frame: PngFrame | undefined;
  let [exif, rawExif, xmp]: (Uint8Array | undefined)[] = [];
  for (const { type: chunk, data } of chunks.slice(1)) {
    progress();
    png.moves ||= chunk === "acTL" || chunk === "fcTL" || chunk === "fdAT";
    switch (chunk) {
      case "PLTE":
        png.palette = data;
        break;
      case "tRNS":
        if (colour === "palette") png.alphas = data;
        else if (data.length >= 2 * (colour === "grey" ? 1 : 3))
          png.key = Array.from({ length: colour === "grey" ? 1 : 3 }, (_, index) => viewOf(data).getUint16(2 * index));
        break;
      case "eXIf":
        exif = data;
        break;
      case "tEXt":
      case "zTXt":
      case "iTXt": {
        const { keyword, text } = pngText(chunk, data);
        if (keyword === "Raw profile type exif") rawExif = text && rawProfile(text);
        if (keyword === "XML:com.adobe.xmp") xmp = text;
        break;
      }
      case "iCCP": {
        const text = data.indexOf(0);
        const profile = text > 0 ? inflateAtMost(data.subarray(text + 2), MOST_PROFILE) : undefined;
        if (profile) warnOfProfile(profile, context);
        break;
      }
      case "acTL":
        if (data.length >= 8 && png.still.length === 0) png.promised = viewOf(data).getUint32(0);
        break;
      case "fcTL":
        if (png.promised === 0) break;
        frame = frameOf(data, png, damaged);
        png.frames.push(frame);
        break;
      case "IDAT":
        png.still.push(data);
        // The still picture is the first frame where the frame's header comes before it.
        if (png.frames.length <= 1) frame?.parts.push(data);
        break;
      case "fdAT":
        frame?.parts.push(data.subarray(4));
        break;
    }
  }
  png.orientation = orientationOf(exif ?? rawExif, xmp);
  if (colour === "palette" && png.palette.length < 3) damaged("no palette (PLTE) for palette colours");
  if (png.still.length === 0) damaged(broken ?? "no pixel data (IDAT)");
  // A header whose data did not come is no frame.
  png.frames = png.frames.filter(({ parts }) => parts.length > 0);
  return png;
}

function frameOf(data: Uint8Array, { header }: Png, damaged: (what: string) => never): PngFrame {
  if (data.length < 26) return damaged("a frame header (fcTL) that is too short");
  const view = viewOf(data);
  const [width, height, x, y] = [4, 8, 12, 16].map((at) => view.getUint32(at)) as [number, number, number, number];
  if (width < 1 || height < 1 || x + width > header.width || y + height > header.height)
    damaged(`a frame of ${width}×${height} at (${x}, ${y}), outside of ${header.width}×${header.height}`);
  const seconds = view.getUint16(20) / (view.getUint16(22) || 100);
  return { x, y, width, height, seconds: shownFor(seconds), dispose: data[24]!, over: data[25] === 1, parts: [] };
}

const viewOf = (data: Uint8Array): DataView => new DataView(data.buffer, data.byteOffset, data.length);
