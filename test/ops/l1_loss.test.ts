import { l1LossCases } from "../../src/check/sweep/cases/l1_loss.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(l1LossCases);
