import { causalCacheCases } from "../../src/check/sweep/cases/causal_cache.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(causalCacheCases);
