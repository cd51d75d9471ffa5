import { columnSumsCases } from "../../src/check/sweep/cases/column_sums.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(columnSumsCases);
