/** Frames as JPEG files, in a browser: its own encoder. */
import { withChannels, type Frame } from "./frame.ts";

/** The frame as JPEG. @param quality 1 to 100 */
export async function encodeJpeg(frame: Frame, quality: number): Promise<Uint8Array<ArrayBuffer>> {
  const canvas = new OffscreenCanvas(frame.width, frame.height);
  const pixels = new Uint8ClampedArray(withChannels(frame, 4));
  canvas.getContext("2d")!.putImageData(new ImageData(pixels, frame.width, frame.height), 0, 0);
  const blob = await canvas.convertToBlob({ type: "image/jpeg", quality: quality / 100 });
  return new Uint8Array(await blob.arrayBuffer());
}
