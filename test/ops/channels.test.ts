import { describe, expect, test } from "vitest";
import { channelsFirst, channelsLast } from "../../src/ops/channels.ts";
import { values } from "../support/compare.ts";
import { limitedGpu, runGraph } from "../support/gpu.ts";
import { pad4, padChannels } from "../support/video.ts";

describe.each([[1, 3, 2, 5, 7], [2, 5, 1, 3, 3], [1, 16, 3, 2, 4], [2, 10, 2, 9, 5]])("channels [%i, %i, %i, %i, %i]", (B, C, T, H, W) => {
  const plane = T * H * W;
  const x = values(B * C * plane, 1);
  const last = new Float32Array(x.length);
  for (let b = 0; b < B; b++) for (let c = 0; c < C; c++) for (let p = 0; p < plane; p++) last[(b * plane + p) * C + c] = x[(b * C + c) * plane + p]!;

  test("last and first again", async () => {
    const out = await runGraph((g) => {
      const y = channelsLast(g.input("x", [B, C, T, H, W]));
      return { y, back: channelsFirst(y, C) };
    }, { inputs: { x } });
    expect(out["y"]).toEqual(padChannels(last, C));
    expect(out["back"]).toEqual(x);
  });
});

test("channels in windows", async () => {
  const [C, plane] = [3, 1500];
  const x = values(C * plane, 1);
  await using gpu = await limitedGpu({ maxBindingBytes: 20 * 1024, immediates: false });
  const out = await runGraph((g) => ({ back: channelsFirst(channelsLast(g.input("x", [1, C, plane])), C) }), { gpu, inputs: { x } });
  expect(pad4(C) * plane * 4).toBeGreaterThan(20 * 1024);
  expect(out["back"]).toEqual(x);
});
