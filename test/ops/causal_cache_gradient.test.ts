import { causalCacheGradientCases } from "../../src/check/sweep/cases/causal_cache_gradient.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(causalCacheGradientCases);
