import { nearestUpsampleCases } from "../../src/check/sweep/cases/nearest_upsample.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(nearestUpsampleCases);
