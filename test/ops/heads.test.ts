import { headsCases } from "../../src/check/sweep/cases/heads.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(headsCases);
