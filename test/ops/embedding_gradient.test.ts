import { expect, test } from "vitest";
import { embeddingGradientCases } from "../../src/check/sweep/cases/embedding_gradient.ts";
import { Graph } from "../../src/graph/graph.ts";
import { embeddingGradient } from "../../src/ops/embedding_gradient.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(embeddingGradientCases);

test("ids must be integers, and dy a row for each", () => {
  const graph = new Graph("refused");
  const ids = graph.input("ids", [3], "u32");
  expect(() => embeddingGradient(ids, graph.input("dy", [2, 4]), 5)).toThrow(/\[embedding_gradient\] ids must be u32/);
  expect(() => embeddingGradient(graph.input("floats", [2]), graph.input("rows", [2, 4]), 5)).toThrow(
    /\[embedding_gradient\] ids must be u32/,
  );
});
