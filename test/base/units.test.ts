/** Sizes as people write them. */
import { expect, it } from "vitest";
import { bytesOfText, bytesText } from "../../src/base/units.ts";

it.each([
  ["4GB", 4e9],
  ["4 gb", 4e9],
  ["3.5GiB", 3.5 * 2 ** 30],
  ["512m", 512e6],
  ["100000", 100_000],
  [" 2 KiB ", 2048],
  ["0.3 MB", 300_000],
])("%s are %d bytes", (text, bytes) => {
  expect(bytesOfText(text)).toBe(bytes);
});

it.each(["", "GB", "four GB", "-1GB", "1e9", "4 GB of it", "4PB", "NaN", "4,5GB", "4i"])("%s are none", (text) => {
  expect(bytesOfText(text)).toBeUndefined();
});

it("what is written is read again", () => {
  for (const bytes of [1e6, 512e6, 4e9, 24e9]) expect(bytesOfText(bytesText(bytes))).toBe(bytes);
});
