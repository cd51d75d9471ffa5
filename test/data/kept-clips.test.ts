/** Clips that a VAE's run keeps: as many as have room with their moments, the ones that were used last. */
import { expect, test } from "vitest";
import { KeptClips } from "../../src/data/kept-clips.ts";
import type { PixelSample } from "../../src/training/vae/sample.ts";

const clip = (values: number, moments = 0): PixelSample => ({
  ...{ pixels: new Float32Array(values), frames: 1, height: 1, width: 1 },
  ...(moments ? { moments: new Float32Array(moments) } : {}),
});
const rows = ["a", "b", "c", "d"];
const left = (kept: KeptClips<string>): string => rows.filter(kept.has).join("");

test("moments count, and what was used last stays", () => {
  const kept = new KeptClips<string>(30);
  for (const row of ["a", "b", "c"]) kept.keep(row, clip(10));
  expect(left(kept)).toBe("abc");
  kept.use("a");
  // Encoded, b has half as much again: c, which was used before it and after it alone, goes.
  kept.keep("b", clip(10, 5));
  expect(left(kept)).toBe("ab");
  expect(kept.use("b")!.moments!.length).toBe(5);
  kept.keep("d", clip(10));
  expect(left(kept)).toBe("bd");
  kept.keep("c", clip(100));
  expect(left(kept)).toBe("c");
  kept.keep("c", clip(1));
  for (const row of ["a", "b"]) kept.keep(row, clip(14));
  expect(left(kept)).toBe("abc");
  expect(kept.use("d")).toBeUndefined();
});
