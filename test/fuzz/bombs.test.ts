/**
 * A sample of `npm run fuzz -- bombs`: those that are quick, and killed or blocked the
 * process once; through a reader's process of its own.
 */
import { expect, it } from "vitest";
import { BOMBS, bombs } from "./bombs.ts";
import { Tally } from "./kind.ts";

const SAMPLE = [
  "gif of 20000×20000, 3 frames",
  "gif of 200 frames of 4000×4000",
  "gif of a million extensions",
  "png of 16×16 with 1 GB in chunks of a byte",
  "png of 100,000 empty chunks",
  "progressive jpeg of 8000×8000 in 1,000,000 scans",
  "webp whose headers disagree",
  "page of 140 comments",
  "mp4 of 65535×65535",
  "mp4 of boxes 100,000 deep",
  "mp4 that says 2³² sizes",
  "webm of unknown sizes",
  "webm of 256 laced frames of vast sizes",
  "a film with a vast number somewhere",
];

it("bombs are refused in words, or read within the limits", async () => {
  const tally = new Tally();
  for (const name of SAMPLE) {
    const index = Object.keys(BOMBS).indexOf(name);
    expect(index, name).toBeGreaterThanOrEqual(0);
    await bombs.run({ count: 1, seed: 1, index, keep: "", dtype: "f32", log: () => {} }, tally);
  }
  expect(tally.faults).toEqual([]);
  expect(tally.tried).toBe(SAMPLE.length);
}, 240_000);
