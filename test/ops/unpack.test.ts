import { expect, test } from "vitest";
import { unpackCases } from "../../src/check/sweep/cases/unpack.ts";
import { Graph } from "../../src/graph/graph.ts";
import { unpack } from "../../src/ops/unpack.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(unpackCases);

test("what does not fit the shape is refused", () => {
  const graph = new Graph("unpack");
  const x = graph.input("x", [7], "u32");
  const of = { format: "f16", shape: [2, 7], packing: "panel" } as const;
  expect(unpack(x, of).shape).toEqual([128]);
  expect(() => unpack(x, { ...of, shape: [3, 7] })).toThrow(
    "[unpack] x must be u32 [11], the bytes of f16 [3, 7], got x u32 [7]; correct the shape",
  );
  expect(() => unpack(x, { ...of, scale: graph.input("scale", [3]) })).toThrow(
    "[unpack] a scale must be f32 [1] or [2], got scale f32 [3]; give one, or one a row",
  );
  expect(() => unpack(x, { ...of, change: { up: graph.input("up", [2, 4]), down: graph.input("down", [2, 7]) } })).toThrow(
    "[unpack] a change must be of a matrix, f32 [rank, 4] and [rank, 8], got up f32 [2, 4] and down f32 [2, 7] for [2, 7]",
  );
});
