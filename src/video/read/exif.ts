/** Of the EXIF data of a picture, which are a TIFF file, the one tag that says how it is to be turned; of its XMP the same. */
import type { Orientation } from "./orientation.ts";

const ORIENTATION = 0x0112;
const SHORT = 3;
const LONG = 4;

/**
 * The orientation that `exif` (with or without the `Exif\0\0` that JPEG puts before it) says or, where it has no such tag, `xmp`, as
 * Pillow has it; 1 where there is none, or none that can be read.
 */
export function orientationOf(exif: Uint8Array | undefined, xmp?: Uint8Array): Orientation {
  const value =
    (exif && tagOf(exif)) ?? (xmp && Number(/tiff:Orientation(?:="|>)([0-9])/.exec(new TextDecoder("latin1").decode(xmp))?.[1]));
  return value !== undefined && value >= 1 && value <= 8 ? (value as Orientation) : 1;
}

/** The value of the tag, 0 where it is of another type; `undefined` where there is none. */
function tagOf(exif: Uint8Array): number | undefined {
  const tiff = startsWith(exif, "Exif\0\0") ? exif.subarray(6) : exif;
  const little = startsWith(tiff, "II*\0");
  if ((!little && !startsWith(tiff, "MM\0*")) || tiff.length < 8) return undefined;
  const view = new DataView(tiff.buffer, tiff.byteOffset, tiff.length);
  const directory = view.getUint32(4, little);
  if (directory + 2 > tiff.length) return undefined;
  const entries = view.getUint16(directory, little);
  for (let entry = 0, at = directory + 2; entry < entries && at + 12 <= tiff.length; entry++, at += 12) {
    if (view.getUint16(at, little) !== ORIENTATION) continue;
    const type = view.getUint16(at + 2, little);
    return type === SHORT ? view.getUint16(at + 8, little) : type === LONG ? view.getUint32(at + 8, little) : 0;
  }
  return undefined;
}

function startsWith(bytes: Uint8Array, text: string): boolean {
  return bytes.length >= text.length && [...text].every((character, index) => bytes[index] === character.charCodeAt(0));
}
