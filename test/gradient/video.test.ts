import { expect, test } from "vitest";
import { causalCacheCases } from "../../src/check/sweep/cases/causal_cache.ts";
import { groupNormCases } from "../../src/check/sweep/cases/group_norm.ts";
import { joinFramesCases } from "../../src/check/sweep/cases/join_frames.ts";
import { nearestUpsampleCases } from "../../src/check/sweep/cases/nearest_upsample.ts";
import { posteriorSampleCases } from "../../src/check/sweep/cases/posterior_sample.ts";
import { temporalPoolCases } from "../../src/check/sweep/cases/temporal_pool.ts";
import { differentiate } from "../../src/gradient/differentiate.ts";
import { watch } from "../../src/gradient/watch.ts";
import { Graph } from "../../src/graph/graph.ts";
import { groupNormApply } from "../../src/ops/group_norm_apply.ts";
import { groupNormMerge } from "../../src/ops/group_norm_merge.ts";
import { groupNormStats } from "../../src/ops/group_norm_stats.ts";
import { gradientTests } from "../support/gradients.ts";

// A mean of 300 deviations leaves f32 no slope to compare; one value has a deviation of 0, whose slopes are those of eps.
gradientTests(groupNormCases, { cases: (c) => !c.name.includes("300 times") && !c.name.includes("one position") });
gradientTests(nearestUpsampleCases);
gradientTests(temporalPoolCases);
gradientTests(causalCacheCases);
gradientTests(joinFramesCases);
// A slope across the clamp, and one of e^20, is none that a difference finds.
gradientTests(posteriorSampleCases, { without: ["noise"], cases: (c) => !c.name.includes("±40") });

test("a norm of other statistics, and statistics by themselves, have no gradient", () => {
  const graph = new Graph("refused");
  const x = watch(graph.input("x", [1, 2, 3, 3, 4]));
  const [weight, bias] = [graph.input("weight", [4]), graph.input("bias", [4])];
  const stats = groupNormStats(x);
  const y = groupNormApply(x, graph.input("norm", [1, 2, 4]), weight, bias);
  expect(() => differentiate([{ of: y, gradient: graph.input("dy", y.shape) }], [x])).toThrow(
    /^\[group_norm_apply\] a gradient goes through a norm by the statistics of x itself, got norm f32 \[1, 2, 4\]/,
  );
  expect(() => differentiate([{ of: stats, gradient: graph.input("dstats", stats.shape) }], [x])).toThrow(
    /^\[group_norm_stats\] statistics have/,
  );
  const norm = groupNormMerge(stats, { channels: 4, groups: 2, eps: 1e-6 });
  expect(() => differentiate([{ of: norm, gradient: graph.input("dnorm", norm.shape) }], [x])).toThrow(
    /^\[group_norm_merge\] statistics have/,
  );
});
