/** Small pictures of a video, as JPEG: one frame, or a sheet of several. */
import { encodeJpeg } from "#jpeg";
import { fitFrame } from "../video/fit.ts";
import { withChannels, type Frame } from "../video/frame.ts";

const QUALITY = 85;
/** Pixels of a thumbnail's longer side, and of one of a sheet's frames. */
const THUMBNAIL = 512;
const TILE = 256;
const COLUMNS = 4;

/** Frames of a sheet at most: the first, the last, and those between in equal steps. */
export const SHEET_FRAMES = 16;

/** The frame in the middle. */
export async function thumbnail(frames: readonly Frame[]): Promise<Uint8Array> {
  return await encodeJpeg(within(frames[frames.length >> 1]!, THUMBNAIL), QUALITY);
}

/** Frames in rows of four, in their order; what is left of the last row is black. */
export async function sheet(frames: readonly Frame[]): Promise<Uint8Array> {
  const count = Math.min(frames.length, SHEET_FRAMES);
  const tiles = Array.from({ length: count }, (_, n) =>
    within(frames[Math.round((n * (frames.length - 1)) / Math.max(1, count - 1))]!, TILE),
  );
  const { width, height } = tiles[0]!;
  const columns = Math.min(count, COLUMNS);
  const whole = { width: columns * width, height: Math.ceil(count / columns) * height };
  const data = new Uint8Array(3 * whole.width * whole.height);
  for (const [n, tile] of tiles.entries()) {
    const pixels = withChannels(tile, 3);
    const [left, top] = [(n % columns) * width, Math.floor(n / columns) * height];
    for (let row = 0; row < height; row++)
      data.set(pixels.subarray(3 * row * width, 3 * (row + 1) * width), 3 * ((top + row) * whole.width + left));
  }
  return await encodeJpeg({ ...whole, data }, QUALITY);
}

/** The frame with its longer side no longer than this. */
function within(frame: Frame, most: number): Frame {
  const scale = Math.min(1, most / Math.max(frame.width, frame.height));
  if (scale === 1) return frame;
  return fitFrame(frame, { width: Math.max(1, Math.round(frame.width * scale)), height: Math.max(1, Math.round(frame.height * scale)) });
}
