/** Reports follow the reader's dark mode: what is drawn names its colour, and each name is legible in both. */
import { readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { describe, expect, it } from "vitest";
import { REPORT_COLOURS } from "../../src/base/report-colours.ts";
import { bytesUnit } from "../../src/base/units.ts";

const SRC = resolve(import.meta.dirname, "../../src");
const [light, dark] = REPORT_COLOURS.split("\n").map((rule) =>
  Object.fromEntries([...rule.matchAll(/--(\w+): ([^;} ]+)/g)].map(([, name, value]) => [name!, value!])),
) as [Record<string, string>, Record<string, string>];

/** WCAG 2.2's relative luminance. */
function luminance(hex: string): number {
  const [r, g, b] = [1, 3, 5].map((at) => {
    const v = Number.parseInt(hex.slice(at, at + 2), 16) / 255;
    return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r! + 0.7152 * g! + 0.0722 * b!;
}
const contrast = (a: string, b: string): number => {
  const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (high! + 0.05) / (low! + 0.05);
};

describe("a report's colours", () => {
  it("are legible in the light and in the dark", () => {
    expect(Object.keys(dark)).toEqual(Object.keys(light));
    expect(luminance(light["page"]!)).toBeGreaterThan(0.9);
    expect(luminance(dark["page"]!)).toBeLessThan(0.02);
    for (const scheme of [light, dark]) {
      for (const name of ["text", "soft", "red"]) expect(contrast(scheme[name]!, scheme["page"]!), name).toBeGreaterThan(4.5);
      for (const name of ["blue", "green", "amber", "violet"]) expect(contrast(scheme[name]!, scheme["page"]!), name).toBeGreaterThan(3);
    }
  });

  it("are named wherever a report draws", () => {
    const folders = ["cli/report", "curation/report", "cli/train", "cli/train/vae"];
    const files = folders.flatMap((folder) =>
      readdirSync(join(SRC, folder), { withFileTypes: true }).flatMap((one) => (one.isFile() ? [`${folder}/${one.name}`] : [])),
    );
    for (const file of [...files, "cli/inspect-report.ts", "cli/validate-report.ts", "cli/generate/report.ts"])
      expect(readFileSync(join(SRC, file), "utf8").match(/#(?:[0-9a-f]{6}|[0-9a-f]{3})(?=["; ])/gi) ?? [], file).toEqual([]);
  });

  it("stand beside a unit of memory that fits", () => {
    expect([42.5e6, 999e6, 1e9].map((bytes) => bytesUnit(bytes).unit)).toEqual(["MB", "MB", "GB"]);
  });
});
