/** GIF → its frames, as they are shown. */
import { CogwheelError } from "../../errors.ts";
import type { Reader } from "./reader.ts";

export const readGif: Reader = async function* (bytes, { name, maxFrames, progress }) {
  const { decode, decodeFrames } = await import("modern-gif");
  let pictures;
  try {
    const copy = Uint8Array.from(bytes);
    const gif = decode(copy);
    pictures = decodeFrames(copy, { gif, range: [0, Math.min(maxFrames, gif.frames.length) - 1] });
  } catch (error) {
    throw new CogwheelError("video", `${name} must be a whole GIF, got ${(error as Error).message}`, { cause: error });
  }
  let seconds = 0;
  for (const { width, height, data, delay } of pictures) {
    progress();
    yield { width, height, data: new Uint8Array(data), seconds, duration: delay / 1000 };
    seconds += delay / 1000;
  }
};
