import { posteriorSampleGradientCases } from "../../src/check/sweep/cases/posterior_sample_gradient.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(posteriorSampleGradientCases);
