import { klLossCases } from "../../src/check/sweep/cases/kl_loss.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(klLossCases);
