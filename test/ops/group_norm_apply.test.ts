import { groupNormApplyCases } from "../../src/check/sweep/cases/group_norm_apply.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(groupNormApplyCases);
