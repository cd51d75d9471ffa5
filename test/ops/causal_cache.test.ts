import { testCases } from "../support/sweep.ts";

testCases("causal_cache");
