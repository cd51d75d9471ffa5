import { expect, test } from "vitest";
import { addNoiseCases } from "../../src/check/sweep/cases/add_noise.ts";
import { Graph } from "../../src/graph/graph.ts";
import { addNoise } from "../../src/ops/add_noise.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(addNoiseCases);

test("rows that do not divide the latents, or name no clip, are refused", () => {
  const g = new Graph("refused");
  const [x, noise, table] = [g.input("x", [6, 5]), g.input("noise", [6, 5]), g.input("table", [2, 4])];
  const rows = (...clips: number[]) => g.constant("rows", Uint32Array.from(clips));
  expect(() => addNoise({ x, noise, table, rows: rows(0, 0, 0, 1) })).toThrow(/\[add_noise\] rows must be u32, one for each row/);
  expect(() => addNoise({ x, noise, table, rows: rows(0, 2) })).toThrow(/an index into the table must be below its 2 rows, got 2/);
});
