import { gatedAddCases } from "../../src/check/sweep/cases/gated_add.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(gatedAddCases);
