import { testCases } from "../support/sweep.ts";

testCases("nearest_upsample");
