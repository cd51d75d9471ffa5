/** Frames of a clip as a request has them. */
import type { ChatPart } from "../endpoint/message.ts";
import { type PictureOptions, pictureOf } from "../endpoint/picture.ts";
import { secondsText, type TimedFrame } from "./frames.ts";

/** @param timed whether each is told with its second */
export async function framesAsParts(frames: readonly TimedFrame[], picture: PictureOptions, timed: boolean): Promise<ChatPart[]> {
  const parts: ChatPart[] = [];
  for (const { seconds, frame } of frames) {
    if (timed) parts.push({ text: `t = ${secondsText(seconds)} s` });
    parts.push({ jpeg: await pictureOf(frame, picture) });
  }
  return parts;
}
