import { groupNormRecordCases } from "../../src/check/sweep/cases/group_norm_record.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(groupNormRecordCases);
