import { gatedAddGradientCases } from "../../src/check/sweep/cases/gated_add_gradient.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(gatedAddGradientCases);
