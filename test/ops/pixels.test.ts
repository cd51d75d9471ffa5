import { testCases } from "../support/sweep.ts";

testCases("pixels");
