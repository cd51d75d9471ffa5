/** Data in a browser: a film is cut and measured in a page as in Node, without a disk. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, it } from "vitest";
import { encodeBytes } from "../../src/video/formats.ts";
import { useBundledPage } from "../support/bundled-page.ts";
import { inPage } from "../support/example.ts";
import { drawnFilm } from "../support/shots.ts";
import { lookAt, type LookedAt } from "./data-page.ts";

let film: Uint8Array<ArrayBuffer>;
const site = useBundledPage(join(import.meta.dirname, "data-page.ts"), async (folder) => {
  const { frames } = drawnFilm([
    { seed: 1, frames: 40, speed: 2 },
    { seed: 2, frames: 36, speed: 0 },
    { seed: 3, frames: 44, speed: 1 },
  ]);
  film = Uint8Array.from(await encodeBytes(frames, { format: "webm", fps: 24 }));
  await writeFile(join(folder, "film.webm"), film);
});

it("a film's shots, clips and their measures are those of Node", async () => {
  const there = await inPage<LookedAt>(
    site.page,
    `return (await import("./page.mjs")).lookAtUrl(${JSON.stringify(`${site.url}film.webm`)});`,
  );
  const here = await lookAt(film);
  expect(there.cuts).toEqual([40, 76]);
  expect(there.clips).toHaveLength(here.clips.length);
  expect(there.clips.length).toBeGreaterThan(2);
  for (const [i, clip] of there.clips.entries()) {
    const want = here.clips[i]!;
    expect([clip.from, clip.to]).toEqual([want.from, want.to]);
    // One decoder for both would give the same numbers; here are two of VP9, which is exact.
    expect(clip.motion).toBeCloseTo(want.motion, 6);
    expect(clip.brightness).toBeCloseTo(want.brightness, 6);
  }
  expect(there.moving).toBe(here.moving);
  expect(there.moving).toBeLessThan(there.clips.length);
  expect(site.wrong).toEqual([]);
});
