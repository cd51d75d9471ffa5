import { describe, expect, it } from "vitest";
import { orientationOf } from "../../../src/video/read/exif.ts";
import { orient, type Orientation } from "../../../src/video/read/orientation.ts";

/** Red of each pixel tells it apart: row by row 1, 2, 3 … */
const frame = (rows: number[][]) => ({
  width: rows[0]!.length,
  height: rows.length,
  data: Uint8Array.from(rows.flat().flatMap((red) => [red, 0, 0, 255])),
});
const rowsOf = ({ width, height, data }: { width: number; height: number; data: ArrayLike<number> }) =>
  Array.from({ length: height }, (_, y) => Array.from({ length: width }, (_, x) => data[4 * (y * width + x)]!));

describe("a stored picture stands upright", () => {
  // What Pillow's ImageOps.exif_transpose makes of [[1, 2, 3], [4, 5, 6]].
  it.each<[Orientation, number[][]]>([
    [
      1,
      [
        [1, 2, 3],
        [4, 5, 6],
      ],
    ],
    [
      2,
      [
        [3, 2, 1],
        [6, 5, 4],
      ],
    ],
    [
      3,
      [
        [6, 5, 4],
        [3, 2, 1],
      ],
    ],
    [
      4,
      [
        [4, 5, 6],
        [1, 2, 3],
      ],
    ],
    [
      5,
      [
        [1, 4],
        [2, 5],
        [3, 6],
      ],
    ],
    [
      6,
      [
        [4, 1],
        [5, 2],
        [6, 3],
      ],
    ],
    [
      7,
      [
        [6, 3],
        [5, 2],
        [4, 1],
      ],
    ],
    [
      8,
      [
        [3, 6],
        [2, 5],
        [1, 4],
      ],
    ],
  ])("orientation %i", (orientation, want) => {
    const stored = frame([
      [1, 2, 3],
      [4, 5, 6],
    ]);
    expect(rowsOf(orient(stored, orientation))).toEqual(want);
    // Bytes that do not begin at a multiple of four.
    const shifted = new Uint8Array(25);
    shifted.set(stored.data, 1);
    expect(rowsOf(orient({ ...stored, data: shifted.subarray(1) }, orientation))).toEqual(want);
  });
});

describe("the orientation tag of EXIF", () => {
  const big = (value: number) => [
    0x4d,
    0x4d,
    0,
    42,
    0,
    0,
    0,
    8,
    0,
    2,
    0x01,
    0x0f,
    0,
    2,
    0,
    0,
    0,
    4,
    0,
    0,
    0,
    0,
    0x01,
    0x12,
    0,
    3,
    0,
    0,
    0,
    1,
    0,
    value,
    0,
    0,
  ];
  const little = (value: number) => [0x49, 0x49, 42, 0, 8, 0, 0, 0, 1, 0, 0x12, 0x01, 3, 0, 1, 0, 0, 0, value, 0, 0, 0];
  const marked = [0x45, 0x78, 0x69, 0x66, 0, 0];
  it.each([
    ["big endian", big(6), 6],
    ["little endian", little(8), 8],
    ["with JPEG's prefix", [...marked, ...little(3)], 3],
    ["a value that is none", little(9), 1],
    ["zero", big(0), 1],
    ["cut short", big(6).slice(0, 26), 1],
    ["a directory outside", [0x4d, 0x4d, 0, 42, 0xff, 0xff, 0xff, 0xff], 1],
    ["no TIFF", [...marked, 1, 2, 3, 4, 5, 6, 7, 8], 1],
    ["nothing", [], 1],
  ])("%s", (_, bytes, want) => expect(orientationOf(Uint8Array.from(bytes))).toBe(want));
});

describe("the orientation in XMP", () => {
  const bytes = (text: string) => new TextEncoder().encode(text);
  const little = (tag: number) => Uint8Array.of(0x49, 0x49, 42, 0, 8, 0, 0, 0, 1, 0, tag, 0x01, 3, 0, 1, 0, 0, 0, 3, 0, 0, 0);
  it.each<[string, Uint8Array | undefined, string, number]>([
    ["as an attribute", undefined, 'x tiff:Orientation="6"', 6],
    ["as an element", undefined, "<tiff:Orientation>8</tiff:Orientation>", 8],
    ["a value that is none", undefined, 'tiff:Orientation="9"', 1],
    ["none", undefined, "<x:xmpmeta/>", 1],
    ["behind EXIF that has one", little(0x12), 'tiff:Orientation="6"', 3],
    ["behind EXIF that has none", little(0x13), 'tiff:Orientation="6"', 6],
  ])("%s", (_, exif, xmp, want) => expect(orientationOf(exif, bytes(xmp))).toBe(want));
});
