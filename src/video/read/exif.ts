/** Of the EXIF data of a picture, which are a TIFF file, the one tag that says how it is to be turned. */
import type { Orientation } from "./orientation.ts";

const ORIENTATION = 0x0112;
const SHORT = 3;
const LONG = 4;

/** The orientation of `exif` (with or without the `Exif\0\0` that JPEG puts before it); 1 where there is none, or none that can be read. */
export function orientationOf(exif: Uint8Array): Orientation {
  const tiff = startsWith(exif, "Exif\0\0") ? exif.subarray(6) : exif;
  const little = startsWith(tiff, "II*\0");
  if ((!little && !startsWith(tiff, "MM\0*")) || tiff.length < 8) return 1;
  const view = new DataView(tiff.buffer, tiff.byteOffset, tiff.length);
  const directory = view.getUint32(4, little);
  if (directory + 2 > tiff.length) return 1;
  const entries = view.getUint16(directory, little);
  for (let entry = 0, at = directory + 2; entry < entries && at + 12 <= tiff.length; entry++, at += 12) {
    if (view.getUint16(at, little) !== ORIENTATION) continue;
    const type = view.getUint16(at + 2, little);
    const value = type === SHORT ? view.getUint16(at + 8, little) : type === LONG ? view.getUint32(at + 8, little) : 0;
    return value >= 1 && value <= 8 ? (value as Orientation) : 1;
  }
  return 1;
}

function startsWith(bytes: Uint8Array, text: string): boolean {
  return bytes.length >= text.length && [...text].every((character, index) => bytes[index] === character.charCodeAt(0));
}
