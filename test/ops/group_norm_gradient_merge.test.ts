import { groupNormGradientMergeCases } from "../../src/check/sweep/cases/group_norm_gradient_merge.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(groupNormGradientMergeCases);
