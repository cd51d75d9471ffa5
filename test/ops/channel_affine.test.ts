import { expect, test } from "vitest";
import { channelAffineCases } from "../../src/check/sweep/cases/channel_affine.ts";
import { Graph } from "../../src/graph/graph.ts";
import { channelAffine } from "../../src/ops/channel_affine.ts";
import { gradientTests } from "../support/gradients.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(channelAffineCases);
// A gradient has padded channels, and the values of a case have none.
gradientTests(channelAffineCases, { cases: (c) => !c.limits && !/, (3|6|10)\]/.test(c.name) });

test("numbers of other channels are refused", () => {
  const g = new Graph("refused");
  expect(() => channelAffine(g.input("x", [2, 8]), g.input("scale", [4]))).toThrow(
    /\[channel_affine\] scale and shift must have an f32 value for each of 8 channels/,
  );
});
