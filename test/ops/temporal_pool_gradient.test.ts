import { temporalPoolGradientCases } from "../../src/check/sweep/cases/temporal_pool_gradient.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(temporalPoolGradientCases);
