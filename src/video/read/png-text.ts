/** Text chunks of PNG that hold more than text: XMP, and EXIF as ImageMagick wrote it before there was a chunk for it. */
import { inflateAtMost } from "./inflate.ts";

/** Inflated bytes that are looked at, as in Pillow. */
const MOST = 2 ** 20;
const KEYWORDS = new Set(["Raw profile type exif", "XML:com.adobe.xmp"]);

/** What a `tEXt`, `zTXt` or `iTXt` chunk says under one of these keywords; no `text` where it is another or damaged. */
export function pngText(type: "tEXt" | "zTXt" | "iTXt", data: Uint8Array): { keyword: string; text: Uint8Array | undefined } {
  const end = data.subarray(0, 80).indexOf(0);
  const keyword = end > 0 ? String.fromCharCode(...data.subarray(0, end)) : "";
  if (!KEYWORDS.has(keyword)) return { keyword, text: undefined };
  if (type === "tEXt") return { keyword, text: data.subarray(end + 1) };
  if (type === "zTXt") return { keyword, text: inflateAtMost(data.subarray(end + 2), MOST) };
  // Whether it is compressed, how, the language, and the keyword in it.
  const language = data.indexOf(0, end + 3);
  const translated = language < 0 ? -1 : data.indexOf(0, language + 1);
  if (translated < 0) return { keyword, text: undefined };
  const text = data.subarray(translated + 1);
  return { keyword, text: data[end + 1] ? inflateAtMost(text, MOST) : text };
}

/** The bytes of a "raw profile": an empty line, its kind, its length, then lines of hexadecimal digits. */
export function rawProfile(text: Uint8Array): Uint8Array | undefined {
  const digits = new TextDecoder("latin1").decode(text).split("\n").slice(3).join("");
  if (!/^(?:[0-9a-f]{2})+$/i.test(digits)) return undefined;
  return Uint8Array.from({ length: digits.length / 2 }, (_, at) => Number.parseInt(digits.slice(2 * at, 2 * at + 2), 16));
}
