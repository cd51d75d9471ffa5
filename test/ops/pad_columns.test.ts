import { padColumnsCases } from "../../src/check/sweep/cases/pad_columns.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(padColumnsCases);
