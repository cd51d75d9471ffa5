import { expect, test } from "vitest";
import { frameSimilarityCases } from "../../src/check/sweep/cases/frame_similarity.ts";
import { Graph } from "../../src/graph/graph.ts";
import { frameSimilarity } from "../../src/ops/frame_similarity.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(frameSimilarityCases);

test("windows that have no middle, and features that are no rows of vectors, are refused", () => {
  const graph = new Graph("refused");
  expect(() => frameSimilarity(graph.input("x", [5, 8]), 4)).toThrow(
    /\[frame_similarity\] the window must be an odd number of frames, got 4/,
  );
  expect(() => frameSimilarity(graph.input("z", [5, 7]), 3)).toThrow(/C a multiple of 4, got z f32 \[5, 7\]/);
});
