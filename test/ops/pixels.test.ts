import { describe, expect, test } from "vitest";
import { pixels } from "../../src/ops/pixels.ts";
import { values } from "../support/compare.ts";
import { limitedGpu, runGraph } from "../support/gpu.ts";
import { padChannels } from "../support/video.ts";

describe.each([["whole", undefined], ["in windows", 4096]])("pixels %s", (_, maxBindingBytes) => {
  const shape = [1, 3, 17, 23];
  const count = 3 * 17 * 23;
  // Beyond −1…1, and the exact halves of bytes among them.
  const x = values(count * 3, 1, 1.3);
  for (let i = 0; i < 255; i++) x[i] = (2 * (i + 0.5)) / 255 - 1;
  const frames = x.map((v) => Math.min(1, Math.max(0, Math.fround(Math.fround(v * 0.5) + 0.5))));
  const inputs = { x: padChannels(x, 3) };

  test("as frames", async () => {
    await using gpu = maxBindingBytes ? await limitedGpu({ maxBindingBytes }) : undefined;
    const out = await runGraph((g) => ({ y: pixels(g.input("x", [...shape, 4]), { format: "frames" }) }), { ...(gpu ? { gpu } : {}), inputs });
    expect(out["y"]).toEqual(frames);
  });

  test("as RGBA", async () => {
    await using gpu = maxBindingBytes ? await limitedGpu({ maxBindingBytes }) : undefined;
    const out = await runGraph((g) => ({ y: pixels(g.input("x", [...shape, 4]), { format: "rgba" }) }), { ...(gpu ? { gpu } : {}), inputs });
    const byte = (v: number) => {
      const scaled = Math.fround(v * 255);
      const floor = Math.floor(scaled);
      return scaled - floor > 0.5 || (scaled - floor === 0.5 && floor % 2) ? floor + 1 : floor;
    };
    // The read-back widens u32 to f32, which keeps the upper 24 bits: compare those, and red apart.
    const want = Array.from({ length: count }, (_, p) => Math.fround((byte(frames[3 * p]!) | (byte(frames[3 * p + 1]!) << 8) | (byte(frames[3 * p + 2]!) << 16) | (255 << 24)) >>> 0));
    expect(Array.from(out["y"]!)).toEqual(want);
  });
});
