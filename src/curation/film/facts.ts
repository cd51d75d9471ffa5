/** What a film's headers and packets say of it, without decoding. */
import { CogwheelError } from "../../base/errors.ts";
import { codecName } from "../../video/read/codec-name.ts";
import type { MediaFacts } from "../types.ts";
import type { OpenFilm, PacketTimes } from "./open.ts";

/** Times that differ by less are rounding of the container's clock. */
const ROUNDING = 0.0011;

export async function filmFacts(film: OpenFilm, { timestamps, durations }: PacketTimes): Promise<MediaFacts> {
  const { track, name } = film;
  const [wide, high, rotation] = [await track.getSquarePixelWidth(), await track.getSquarePixelHeight(), await track.getRotation()];
  const [width, height] = rotation % 180 === 90 ? [high, wide] : [wide, high];
  if (timestamps.length === 0)
    throw new CogwheelError("scan", `${name} must hold pictures, got none; the file was cut off: download or copy it again`);
  const shown = timestamps.filter((time) => time >= -ROUNDING).sort();
  const gaps = shown.subarray(1).map((time, i) => time - shown[i]!);
  const usual = gaps.toSorted()[gaps.length >> 1] ?? durations[0] ?? 0;
  const last = timestamps.reduce((most, time, i) => Math.max(most, time + (durations[i] || usual)), 0);
  const duration = Math.max(0, last - (shown[0] ?? 0));
  const color = await track.getColorSpace().catch(() => undefined);
  const said = color && [color.matrix, color.transfer, color.fullRange ? "full range" : undefined].filter(Boolean).join(", ");
  return {
    kind: "film",
    container: film.container,
    codec: codecName(film.codec, null),
    width,
    height,
    rotation,
    fps: duration > 0 ? Number((shown.length / duration).toFixed(4)) : 0,
    variable: gaps.some((gap) => Math.abs(gap - usual) > ROUNDING + 0.05 * usual),
    packets: timestamps.length,
    duration: Number(duration.toFixed(6)),
    ...(said ? { color: said } : {}),
  };
}
