/** Which moments of a clip a model is shown. */
import { readClip } from "../../video/clip.ts";
import type { Frame } from "../../video/frame.ts";

/** A frame and its second in the clip. */
export interface TimedFrame {
  readonly seconds: number;
  readonly frame: Frame;
}

/** Frames of a clip at most: an hour would be a book. */
const MOST = 64;

/**
 * Frames of a clip's file at a rate, made no larger than `longest`. Only what is taken is kept in memory.
 * @param rate frames a second
 */
export async function framesOf(
  bytes: Uint8Array,
  {
    rate,
    most = MOST,
    longest,
    name,
    signal,
  }: { rate: number; most?: number; longest: number; name: string; signal?: AbortSignal | undefined },
): Promise<TimedFrame[]> {
  const { frames } = await readClip(bytes, {
    fps: rate,
    frames: Math.min(most, MOST),
    name,
    ...(signal ? { signal } : {}),
    size(width, height) {
      const scale = Math.min(1, longest / Math.max(width, height));
      return { width: Math.max(1, Math.round(width * scale)), height: Math.max(1, Math.round(height * scale)) };
    },
  });
  return frames.map((frame, i) => ({ seconds: i / rate, frame }));
}

/** So many of a list, spread evenly over it, the first always among them. */
export function spread<T>(list: readonly T[], count: number): T[] {
  if (list.length <= count) return [...list];
  return Array.from({ length: count }, (_, i) => list[Math.round((i * (list.length - 1)) / Math.max(1, count - 1))]!);
}

/** Seconds as captions' requests have them: 0, 2, 4.5. */
export const secondsText = (seconds: number): string => String(Number(seconds.toFixed(2)));
