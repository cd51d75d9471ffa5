/** A film of six seconds that grows brighter, so that a frame tells its second; and its first frame as a picture. */
import { encodeVideo } from "../../src/video/encode.ts";

export interface Brightening {
  readonly film: Uint8Array<ArrayBuffer>;
  readonly picture: Uint8Array<ArrayBuffer>;
}

export async function brightening(): Promise<Brightening> {
  const frames = Array.from({ length: 48 }, (_, t) => ({ width: 64, height: 32, data: new Uint8Array(64 * 32 * 3).fill(10 + 5 * t) }));
  return {
    film: await encodeVideo(frames, { format: "mp4", fps: 8 }),
    picture: await encodeVideo(frames.slice(0, 1), { format: "png", fps: 1 }),
  };
}
