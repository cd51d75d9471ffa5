/** When the frames of a GIF are shown: whole hundredths of a second, of which players take one (and none) for ten. */
import { CogwheelError } from "../base/errors.ts";

/** The shortest delay that players keep, and the longest that fits the file. */
const SHORTEST = 2;
const LONGEST = 65_535;

/** The most frames a second that a GIF can show. */
export const GIF_FPS = 100 / SHORTEST;

/** What to say before a film is written to `path`, where that is a GIF that cannot show all of its frames. */
export function gifWarning(path: string, fps: number): string | undefined {
  return /\.gif$/i.test(path) && fps > GIF_FPS
    ? `[video] a GIF shows at most ${GIF_FPS} frames a second: of ${fps}, frames are left out evenly, and the film keeps its length`
    : undefined;
}

/**
 * Which of `count` frames a GIF at `fps` frames a second shows, and for how many hundredths each. Every frame begins at its own time,
 * rounded to hundredths; above 50 a second frames are left out evenly, where the one before would be shown too briefly. The sum is that
 * of the film, within a hundredth.
 */
export function gifDelays(count: number, fps: number): { index: number; delay: number }[] {
  const at = (index: number): number => Math.round((100 * index) / fps);
  const shown: number[] = [];
  for (let index = 0; index < count; index++) {
    if (shown.length && at(index) - at(shown.at(-1)!) < SHORTEST) continue;
    shown.push(index);
  }
  if (shown.length > 1 && at(count) - at(shown.at(-1)!) < SHORTEST) shown.pop();
  return shown.map((index, i) => {
    const delay = Math.max(SHORTEST, at(shown[i + 1] ?? count) - at(index));
    if (delay > LONGEST)
      throw new CogwheelError(
        "video",
        `a frame of a gif is shown for at most ${LONGEST / 100} seconds, got ${fps} frames a second; choose a higher frame rate, or mp4`,
      );
    return { index, delay };
  });
}
