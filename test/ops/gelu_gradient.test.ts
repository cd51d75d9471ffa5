import { geluGradientCases } from "../../src/check/sweep/cases/gelu_gradient.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(geluGradientCases);
