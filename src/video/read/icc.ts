/**
 * Colour profiles. The values of pictures are taken as sRGB, as the reference takes them; a
 * picture whose profile says otherwise is told of.
 */
import type { ReadContext } from "./reader.ts";

/** Of sRGB, for the white of profiles (D50): how much red, green and blue give to X, Y and Z. */
const SRGB = [
  [0.436, 0.2225, 0.0139],
  [0.3851, 0.7169, 0.0971],
  [0.1431, 0.0606, 0.7141],
] as const;

/** Warns where an ICC profile has other primaries than sRGB's. One without primaries, such as of grey, is no reason to. */
export function warnOfProfile(profile: Uint8Array, { name, warn }: Pick<ReadContext, "name" | "warn">): void {
  const tags = tagsOf(profile);
  const primaries = ["rXYZ", "gXYZ", "bXYZ"].map((tag) => xyzOf(tags.get(tag)));
  if (primaries.some((primary) => primary === undefined)) return;
  if (primaries.every((primary, index) => primary!.every((value, axis) => Math.abs(value - SRGB[index]![axis]!) < 0.01))) return;
  const description = textOf(tags.get("desc"));
  warn(
    `${name} has colours of another space than sRGB${description ? ` (${description})` : ""}; ` +
      "its values were taken as they are, which makes colours paler. Convert it to sRGB first if they matter",
  );
}

function tagsOf(profile: Uint8Array): Map<string, Uint8Array> {
  const tags = new Map<string, Uint8Array>();
  if (profile.length < 132) return tags;
  const view = new DataView(profile.buffer, profile.byteOffset, profile.length);
  const count = Math.min(view.getUint32(128), 100);
  for (let index = 0, at = 132; index < count && at + 12 <= profile.length; index++, at += 12) {
    tags.set(
      String.fromCharCode(...profile.subarray(at, at + 4)),
      profile.subarray(view.getUint32(at + 4), view.getUint32(at + 4) + view.getUint32(at + 8)),
    );
  }
  return tags;
}

/** `XYZ `: numbers of 16 bits before and 16 after the point. */
function xyzOf(tag: Uint8Array | undefined): number[] | undefined {
  if (!tag || tag.length < 20) return undefined;
  const view = new DataView(tag.buffer, tag.byteOffset, tag.length);
  return [8, 12, 16].map((at) => view.getInt32(at) / 65536);
}

/** `desc` of version 2 (ASCII) or `mluc` of version 4 (UTF-16, its first language). */
function textOf(tag: Uint8Array | undefined): string {
  if (!tag || tag.length < 12) return "";
  const view = new DataView(tag.buffer, tag.byteOffset, tag.length);
  const type = String.fromCharCode(...tag.subarray(0, 4));
  let characters: number[] = [];
  if (type === "desc") characters = [...tag.subarray(12, 12 + view.getUint32(8))];
  else if (type === "mluc" && tag.length >= 28) {
    const [length, offset] = [view.getUint32(20), view.getUint32(24)];
    for (let at = offset; at + 2 <= Math.min(offset + length, tag.length); at += 2) characters.push(view.getUint16(at));
  }
  return String.fromCharCode(...characters.slice(0, 60)).replace(/[^\x20-\x7e]+/g, "");
}
