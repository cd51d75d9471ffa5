import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { Tally } from "./kind.ts";
import { payload } from "./media-damage.ts";
import { media, seeds } from "./media.ts";

it("whole films and pictures are read, and the places of their coded pictures are found", async () => {
  const refused: string[] = [];
  const all = await seeds((text) => refused.push(text));
  expect(refused).toEqual([]);
  expect(all).toHaveLength(28);
  for (const { name, bytes } of all) {
    const parts = payload(bytes);
    if (name.endsWith(".gif")) continue; // palettes are all over it
    expect(parts.length, name).toBeGreaterThan(0);
    for (const [from, to] of parts) expect([name, to > from && from > 20 && to <= bytes.length]).toEqual([name, true]);
  }
});

it("a sample of damaged ones: refused in words, or read for what they say", async () => {
  const tally = new Tally();
  await media.run({ count: 150, seed: 3, keep: join(tmpdir(), "cogwheel-fuzz-media"), dtype: "f32", log: () => {} }, tally);
  expect(tally.faults).toEqual([]);
  expect(tally.tried).toBe(150);
  expect(tally.counts.get("read")).toBeGreaterThan(30);
  expect(tally.counts.get("refused")).toBeGreaterThan(30);
});
