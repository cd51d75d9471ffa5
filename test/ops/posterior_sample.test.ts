import { posteriorSampleCases } from "../../src/check/sweep/cases/posterior_sample.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(posteriorSampleCases);
