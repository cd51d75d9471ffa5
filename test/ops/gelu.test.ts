import { geluCases } from "../../src/check/sweep/cases/gelu.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(geluCases);
