import { groupNormMergeCases } from "../../src/check/sweep/cases/group_norm_merge.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(groupNormMergeCases);
