import { pixelsCases } from "../../src/check/sweep/cases/pixels.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(pixelsCases);
