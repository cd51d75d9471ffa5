/** A frame as vision models are given it: JPEG, no larger than they look at. */
import { encodeJpeg } from "#jpeg";
import { fitFrame } from "../../video/fit.ts";
import type { Frame } from "../../video/frame.ts";

/** How pictures are sent. */
export interface PictureOptions {
  /** Pixels of the longer side at most; smaller ones stay as they are. Default 768. */
  longest?: number;
  /** Of JPEG, 1 to 100. Default 85. */
  quality?: number;
}

export async function pictureOf(frame: Frame, { longest = 768, quality = 85 }: PictureOptions = {}): Promise<Uint8Array<ArrayBuffer>> {
  const scale = longest / Math.max(frame.width, frame.height);
  if (scale >= 1) return await encodeJpeg(frame, quality);
  const [width, height] = [frame.width, frame.height].map((size) => Math.max(1, Math.round(size * scale)));
  return await encodeJpeg(fitFrame(frame, { width: width!, height: height!, fit: "stretch" }), quality);
}
