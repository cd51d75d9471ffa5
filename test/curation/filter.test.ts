/** Expressions over the columns of a data set. */
import { describe, expect, it } from "vitest";
import { parseFilter } from "../../src/curation/filter.ts";

const ROW = { width: 720, height: 480, scores: { motion: 0.4, "text-free": true }, caption: "a red star", tags: ["night", "rain"] };

describe("a filter", () => {
  it.each([
    ["scores.motion > 0.3 && width >= 512", true],
    ["scores.motion > 0.3 && width >= 1024", false],
    ["width < 512 || height == 480", true],
    ["!(width < 512) && caption != ''", true],
    ["width * height > 345599 && width * height < 345601", true],
    ["width - height / 2 == 480", true],
    ["-width < 0 && 7 % 4 == 3 && 2 + 3 * 4 == 14 && !!width", true],
    ["'star' in caption && 'night' in tags && 720 in [480, 720]", true],
    ['"day" in tags || "blue" in caption', false],
    ["scores.`text-free`", true],
    ["missing == null && scores.missing.deeper == null", true],
    ["missing < 1 || missing >= 1 || missing + 1 > 0", false],
    ["caption < 5 || caption > 5", false],
    ["constructor == null && scores.__proto__ == null && toString == null", true],
    ["1e-3 < .5 && 'it\\'s' != \"it's\"", false],
  ])("%s is %s", (text, want) => {
    expect(parseFilter(text).takes(ROW)).toBe(want);
  });

  it("tells the columns that it asks for", () => {
    expect(parseFilter("a.b > 1 && (c in [1, d] || true)").columns).toEqual(["a.b", "c", "d"]);
  });

  it.each([
    ["width >", "a value or a column must stand here, got its end at character 8"],
    ["width = 3", 'got "=", compare with == at character 7'],
    ["(width > 3", ") must follow, got its end at character 11"],
    ["width > 3 height", 'got "height" at character 11'],
    ["1 < width < 3", "two comparisons must be joined by && or ||, got a second one at character 11"],
    ["a && 'x", "at character 6"],
    ["", "got its end at character 1"],
    ["process.exit()", 'got "(" at character 13'],
  ])("%j is refused with its position", (text, want) => {
    expect(() => parseFilter(text)).toThrow(want);
  });

  it("neither nests too deep nor is too long", () => {
    expect(() => parseFilter("(".repeat(4000) + "1" + ")".repeat(4000))).toThrow("at most 64 deep");
    expect(parseFilter("!".repeat(9000) + "1").takes({})).toBe(true);
    expect(() => parseFilter("1".repeat(20_000))).toThrow("at most 10000 characters, got 20000");
  });
});
