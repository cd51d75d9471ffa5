import { testCases } from "../support/sweep.ts";

testCases("temporal_pool");
