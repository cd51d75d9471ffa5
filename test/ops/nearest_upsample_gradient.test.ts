import { nearestUpsampleGradientCases } from "../../src/check/sweep/cases/nearest_upsample_gradient.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(nearestUpsampleGradientCases);
