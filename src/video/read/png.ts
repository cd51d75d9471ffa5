/** PNG → one frame. */
import { CogwheelError } from "../../errors.ts";
import type { ReadContext, Reader, ReadFrame } from "./reader.ts";

export const readPng: Reader = async function* (bytes, context) {
  yield await decodePng(bytes, context);
  context.progress();
};

async function decodePng(bytes: Uint8Array, { name }: ReadContext): Promise<ReadFrame> {
  const { convertIndexedToRgb, decode } = await import("fast-png");
  try {
    const image = decode(bytes);
    const { width, height } = image;
    const indexed = image.palette !== undefined;
    const values = indexed ? convertIndexedToRgb(image) : image.depth < 8 ? unpacked(image) : image.data;
    const channels = values.length / (width * height);
    const depth = indexed ? 8 : image.depth;
    if (!Number.isInteger(channels)) throw new Error(`${image.depth} bits a pixel`);
    const most = 2 ** depth - 1;
    const data = new Uint8Array(width * height * 4).fill(255);
    for (let pixel = 0; pixel < width * height; pixel++) {
      for (let channel = 0; channel < 3; channel++) {
        const value = values[pixel * channels + (channels < 3 ? 0 : channel)]!;
        data[4 * pixel + channel] = depth === 8 ? value : Math.round((255 * value) / most);
      }
    }
    return { width, height, data };
  } catch (error) {
    throw new CogwheelError("video", `${name} must be a whole PNG, got ${(error as Error).message}`, { cause: error });
  }
}

/** Grey of 1, 2 or 4 bits, several pixels a byte, the first in the highest bits; each row begins with a byte. */
function unpacked({ width, height, depth, data }: { width: number; height: number; depth: number; data: ArrayLike<number> }): Uint8Array {
  const stride = Math.ceil((width * depth) / 8);
  const out = new Uint8Array(width * height);
  for (let y = 0, to = 0; y < height; y++) {
    for (let x = 0; x < width; x++) out[to++] = (data[y * stride + ((x * depth) >> 3)]! >> (8 - depth - ((x * depth) & 7))) & (2 ** depth - 1);
  }
  return out;
}
