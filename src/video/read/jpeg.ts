/**
 * JPEG → one frame. The markers are walked first: they say the size, what cannot be read,
 * how it is to be turned, and whether it is whole.
 */
import { CogwheelError } from "../../base/errors.ts";
import { joined } from "../../base/joined.ts";
import { openCodec, type Decoded } from "./codec.ts";
import { orientationOf } from "./exif.ts";
import { warnOfProfile } from "./icc.ts";
import { refuseBeyondFrames, refuseBeyondPixels } from "./limits.ts";
import { orient, type Orientation } from "./orientation.ts";
import type { ReadContext, Reader } from "./reader.ts";

interface Jpeg {
  width: number;
  height: number;
  /** Each may go over all of the picture once more. */
  scans: number;
  orientation: Orientation;
  profile: Uint8Array | undefined;
}

/** Scans · pixels: 64 Mi pixels in 32 scans, some 20 s. Encoders write ten; a picture of a million is made to keep a decoder busy. */
const MOST_WORK = 2 ** 31;

export const readJpeg: Reader = async function* (bytes, context) {
  const { name, warn, progress } = context;
  const jpeg = walk(bytes, context);
  const { width, height, scans, orientation } = jpeg;
  if (scans * width * height > MOST_WORK) {
    throw new CogwheelError(
      "video",
      `${name} must have at most ${Math.max(1, Math.floor(MOST_WORK / (width * height)))} scans at ${width}×${height}, ` +
        `got ${scans}; save it again as a plain JPEG or PNG`,
    );
  }
  refuseBeyondFrames(context, width, height, 1);
  if (jpeg.profile) warnOfProfile(jpeg.profile, context);
  const codec = await openCodec("jpeg");
  let decoded: Decoded;
  try {
    progress();
    decoded = codec.decode(bytes);
    progress();
  } catch (error) {
    throw new CogwheelError(
      "video",
      `${name} must be a whole JPEG, got "${(error as Error).message}" from its decoder; save it again as JPEG or PNG`,
      { cause: error },
    );
  }
  if (decoded.width !== width || decoded.height !== height)
    throw new CogwheelError(
      "video",
      `${name} must be a JPEG with one size, got ${width}×${height} and ${decoded.width}×${decoded.height}; save it again as JPEG or PNG`,
    );
  if (decoded.complaints.length > 0) warn(`${name} is damaged (${decoded.complaints[0]}); parts of the picture may be wrong`);
  yield orient(decoded, orientation);
};

const PICTURE = "convert it to an RGB JPEG or to PNG";
/** What the frame header's marker says of the coding, where it is not Huffman-coded DCT. */
const CODINGS: Record<number, string> = {
  0xc3: "lossless",
  0xc5: "hierarchical",
  0xc6: "hierarchical",
  0xc7: "hierarchical, lossless",
  0xc9: "arithmetic",
  0xca: "arithmetic",
  0xcb: "arithmetic, lossless",
  0xcd: "arithmetic, hierarchical",
  0xce: "arithmetic, hierarchical",
  0xcf: "arithmetic, hierarchical, lossless",
};

/**
 * Walks the markers up to the end of the picture. Whatever comes behind it is not looked at:
 * the film of a motion photo, further pictures.
 */
function walk(bytes: Uint8Array, context: ReadContext): Jpeg {
  const { name } = context;
  const refused = (rule: string, got: string, remedy: string): never => {
    throw new CogwheelError("video", `${name} must be ${rule}, got ${got}; ${remedy}`);
  };
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const profiles: { number: number; data: Uint8Array }[] = [];
  const jpeg = { width: 0, height: 0, scans: 0 };
  let exif: Uint8Array | undefined;
  let xmp: Uint8Array | undefined;
  for (let at = 2; ; ) {
    // To the next marker: what is not one belongs to a scan (or is junk, which decoders skip too).
    while (at + 1 < bytes.length && !(bytes[at] === 0xff && isMarker(bytes[at + 1]!))) at++;
    if (at + 1 >= bytes.length) return refused("a whole JPEG", "one that ends before its end marker (EOI)", "copy or download it again");
    const marker = bytes[at + 1]!;
    at += 2;
    if (marker === 0xd9) break;
    if (at + 2 > bytes.length || at + view.getUint16(at) > bytes.length)
      return refused("a whole JPEG", "one that ends in the middle of a segment", "copy or download it again");
    const segment = bytes.subarray(at + 2, at + view.getUint16(at));
    if (marker === 0xda) jpeg.scans++;
    else if (marker >= 0xc0 && marker <= 0xcf && marker !== 0xc4 && marker !== 0xc8 && marker !== 0xcc && jpeg.width === 0) {
      if (segment.length < 6) return refused("a whole JPEG", "a frame header that is too short", "copy or download it again");
      const [bits, components] = [segment[0]!, segment[5]!];
      if (CODINGS[marker])
        return refused("a JPEG of the usual kind (baseline or progressive, Huffman-coded)", `one with ${CODINGS[marker]} coding`, PICTURE);
      if (bits !== 8) return refused("a JPEG of 8 bits", `one of ${bits}`, PICTURE);
      if (components === 4)
        return refused(
          "a JPEG in colours or grey",
          "one in CMYK (or YCCK), the inks of a printer",
          `${PICTURE} (\`magick IN -colorspace sRGB out.jpg\`)`,
        );
      if (components !== 1 && components !== 3) return refused("a JPEG of one or three components", `one of ${components}`, PICTURE);
      jpeg.height = view.getUint16(at + 3);
      jpeg.width = view.getUint16(at + 5);
      refuseBeyondPixels(context, jpeg.width, jpeg.height);
    } else if (marker === 0xe1 && latin1(segment, 6) === "Exif\0\0") exif ??= segment;
    else if (marker === 0xe1 && latin1(segment, XMP.length) === XMP) xmp = segment;
    else if (marker === 0xe2 && latin1(segment, 12) === "ICC_PROFILE\0")
      profiles.push({ number: segment[12]!, data: segment.subarray(14) });
    at += view.getUint16(at);
  }
  if (jpeg.width === 0) return refused("a whole JPEG", "no frame header", "copy or download it again");
  if (jpeg.scans === 0) return refused("a whole JPEG", "no scan", "copy or download it again");
  return {
    ...jpeg,
    orientation: orientationOf(exif, xmp),
    profile: profiles.length ? joined(profiles.sort((a, b) => a.number - b.number).map(({ data }) => data)) : undefined,
  };
}

const XMP = "http://ns.adobe.com/xap/1.0/\0";

/**
 * Of what may follow 0xff: not itself (padding), not an escaped 0xff of a scan, not a restart,
 * and nothing else that stands alone but the end.
 */
function isMarker(code: number): boolean {
  return code !== 0xff && code > 0x01 && !(code >= 0xd0 && code <= 0xd8);
}

const latin1 = (bytes: Uint8Array, length: number): string => String.fromCharCode(...bytes.subarray(0, length));
