import { castCases } from "../../src/check/sweep/cases/cast.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(castCases);
