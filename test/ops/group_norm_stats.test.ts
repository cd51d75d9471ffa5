import { groupNormStatsCases } from "../../src/check/sweep/cases/group_norm_stats.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(groupNormStatsCases);
