import { temporalPoolCases } from "../../src/check/sweep/cases/temporal_pool.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(temporalPoolCases);
