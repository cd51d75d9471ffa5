import { pixelLossCases } from "../../src/check/sweep/cases/pixel_loss.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(pixelLossCases);
