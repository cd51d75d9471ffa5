import { groupNormGradientCases } from "../../src/check/sweep/cases/group_norm_gradient.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(groupNormGradientCases);
