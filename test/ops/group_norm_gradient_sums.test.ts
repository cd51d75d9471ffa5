import { groupNormGradientSumsCases } from "../../src/check/sweep/cases/group_norm_gradient_sums.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(groupNormGradientSumsCases);
